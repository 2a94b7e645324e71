"""Adapter for CamVid in the layout of SegNet: 480x360, ids 0 to 11, file names that begin with the
sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import CAMVID_IDS
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name
from ibnseg.support.errors import unknown_name


@DATASETS.register_module()
class CamVid(DrivingDataset):
    """Reads CamVid, 701 frames of drives through Cambridge (Brostow et al., 2009): 367 train, 101
    val and 233 test.

    Args:
        sequences: the drives to keep, by the beginning of their frames' names (e.g. ``0001TP``,
            which was filmed at dusk); all if None.
        kwargs: the arguments of :class:`DrivingDataset`.
    """

    LAYOUT = (
        "{train,val,test}/<sequence>_<frame>.png (or .jpg) and "
        "{train,val,test}annot/<sequence>_<frame>.png"
    )
    SPLITS = ("train", "val", "test")
    LABEL_IDS = CAMVID_IDS
    CLASS_TABLE = "camvid"

    def __init__(self, *args, sequences: Sequence[str] | None = None, **kwargs) -> None:
        self.sequences = sequences
        super().__init__(*args, **kwargs)

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images = files_by_name(root / self.split, ".png", ".jpg")
        labels = files_by_name(root / f"{self.split}annot", ".png")
        if self.sequences is None or not images:
            return images, labels
        everywhere = {
            stem.split("_")[0]
            for split in self.SPLITS
            for stem in files_by_name(root / split, ".png", ".jpg")
        }
        for sequence in self.sequences:
            if sequence not in everywhere:
                raise unknown_name(f"sequence of CamVid in {root}", sequence, everywhere)
        images, labels = (
            {stem: path for stem, path in paths.items() if stem.split("_")[0] in self.sequences}
            for paths in (images, labels)
        )
        return images, labels
