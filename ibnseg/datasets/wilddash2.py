"""Adapter for WildDash 2 as its zip unpacks: photographs, and segments in the form of COCO
panoptic."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.panoptic import Panoptic
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name
from ibnseg.support.errors import UserError

UNLABELED = 0
"""The id of pixels whose segment is not listed, as in
ozendelait/wilddash_scripts:pano2sem.py."""

LAST_OF_ALPHA = 38
"""The last id of the alpha release, whose labels lack all later classes."""


@DATASETS.register_module()
class WildDash2(DrivingDataset):
    """Reads WildDash 2, 4256 photographs of difficult scenes from all over the world, in many
    sizes (Zendel et al., CVPR 2022).

    There is no official split. The 812 images of the benchmark have no public labels. The map to
    the 19 classes is the authors' own; ``class_map='first34'`` keeps only the ids that Cityscapes
    has as well.
    """

    LAYOUT = "images/<name>.jpg, panoptic/<name>.png and panoptic.json (wd_public_v2p0.zip)"
    SPLITS = ("all",)
    LABEL_IDS = classes_of("wilddash2").ids("cityscapes")
    CLASS_TABLE = "wilddash2"
    CLASS_MAPS = {"first34": classes_of("wilddash2").ids("first34")}
    COUNTS = {"all": 4256}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        labels = files_by_name(root / "panoptic", ".png")
        if labels:
            self.label_reader = _reader(root / "panoptic.json")
        return files_by_name(root / "images", ".jpg"), labels


def _reader(path: Path) -> Panoptic:
    """The reader of the labels.

    Raises:
        UserError: if the file of the segments is missing or wrong, or is of the alpha release.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the layout {WildDash2.LAYOUT}")
    reader = Panoptic(path, UNLABELED)
    last = max(reader.categories, default=UNLABELED)
    if last <= LAST_OF_ALPHA:
        raise UserError(
            f"{path}: has no id above {last}, as in the alpha release of WildDash 2, expected "
            "wd_public_v2p0.zip, whose ids go to 80; download that"
        )
    return reader
