"""Adapter for Foggy Driving as its zip unpacks: fine and coarse labels."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.name_lists import listed_names, listed_pairs
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place

LABELS = {
    "test": ("gtFine", "_gtFine_labelIds.png"),
    "test_extra": ("gtCoarse", "_gtCoarse_labelIds.png"),
}
"""The folder and suffix of the labels of each folder of images."""


@DATASETS.register_module()
class FoggyDriving(DrivingDataset):
    """Reads Foggy Driving, 101 photographs of many sizes in fog, which are for testing only
    (Sakaridis et al., IJCV 2018).

    The split ``testall`` has all, ``testfine`` the 33 with fine labels, and ``testdense`` the 21
    in dense fog.
    """

    LAYOUT = (
        "lists_file_names/leftImg8bit_{testall,testfine,testdense}_filenames.txt, "
        "leftImg8bit/{test,test_extra}/<record>/<name>_leftImg8bit.png, "
        "gtFine/test/<record>/<name>_gtFine_labelIds.png and "
        "gtCoarse/test_extra/<record>/<name>_gtCoarse_labelIds.png"
    )
    SPLITS = ("testall", "testfine", "testdense")
    CLASS_TABLE = "foggy_driving"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = {"testall": 101, "testfine": 33, "testdense": 21}  # the README of the download

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        file = root / f"lists_file_names/leftImg8bit_{self.split}_filenames.txt"
        images = files_by_place(root / "leftImg8bit", "_leftImg8bit.png")
        labels = {
            f"{part}/{place}": path
            for part, (folder, suffix) in LABELS.items()
            for place, path in files_by_place(root / folder / part, suffix).items()
        }
        names = listed_names(file, "leftImg8bit", "_leftImg8bit.png")
        return listed_pairs(file, names, images, labels)
