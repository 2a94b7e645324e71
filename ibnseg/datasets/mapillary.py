"""Adapter for Mapillary Vistas as its zip unpacks, with the labels of version 1.2."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import MAPILLARY_IDS, MAPILLARY_OPENSEG_IDS
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name

FOLDERS = {"train": "training", "val": "validation"}
"""The folder of each split."""


@DATASETS.register_module()
class MapillaryVistas(DrivingDataset):
    """Reads Mapillary Vistas, 18000 training and 2000 validation photographs from all over the
    world, in many sizes (Neuhold et al., ICCV 2017).

    Two maps from its 66 classes to the 19 are in use; ``class_map='openseg'`` chooses the second.
    """

    LAYOUT = (
        "{training,validation}/images/<name>.jpg and {training,validation}/labels/<name>.png "
        "(or {training,validation}/v1.2/labels, in the download of version 2.0)"
    )
    SPLITS = tuple(FOLDERS)
    LABEL_IDS = MAPILLARY_IDS
    CLASS_TABLE = "mapillary"
    CLASS_MAPS = {"openseg": MAPILLARY_OPENSEG_IDS}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        folder = root / FOLDERS[self.split]
        newer = folder / "v1.2" / "labels"
        labels = newer if newer.is_dir() else folder / "labels"
        return files_by_name(folder / "images", ".jpg"), files_by_name(labels, ".png")
