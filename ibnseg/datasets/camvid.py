"""CamVid in the SegNet layout: 480x360, ids 0 to 11, frames named for their sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import CAMVID_IDS
from ibnseg.errors import UserError
from ibnseg.registry import DATASETS


@DATASETS.register_module()
class CamVid(DrivingDataset):
    """701 frames of drives through Cambridge (Brostow et al., 2009): 367 train, 101 val, 233 test.

    Args:
        sequences: the drives to keep, by what frames' names begin with (``0001TP`` is at dusk); all
            if None.
        kwargs: as :class:`DrivingDataset`.
    """

    LAYOUT = (
        "{train,val,test}/<sequence>_<frame>.png (or .jpg) and "
        "{train,val,test}annot/<sequence>_<frame>.png"
    )
    SPLITS = ("train", "val", "test")
    LABEL_IDS = CAMVID_IDS

    def __init__(self, *args, sequences: Sequence[str] | None = None, **kwargs) -> None:
        self.sequences = sequences
        super().__init__(*args, **kwargs)

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images = _by_stem(root / self.split, ".png") | _by_stem(root / self.split, ".jpg")
        labels = _by_stem(root / f"{self.split}annot", ".png")
        if self.sequences is None or not images:
            return images, labels
        found = {stem.split("_")[0] for stem in images}
        unknown = sorted(set(self.sequences) - found)
        if len(unknown) == len(self.sequences):
            raise UserError(
                f"CamVid {self.split}: no frames of sequence {', '.join(unknown)} in {root}; "
                f"found {', '.join(sorted(found))}"
            )
        images, labels = (
            {stem: path for stem, path in paths.items() if stem.split("_")[0] in self.sequences}
            for paths in (images, labels)
        )
        return images, labels


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob(f"*{suffix}")}
