"""Adapter for the test sets of Foggy Zurich as its zip unpacks; its own lists say which images they
have."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.name_lists import listed_names, listed_pairs
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place


@DATASETS.register_module()
class FoggyZurich(DrivingDataset):
    """Reads the test images of Foggy Zurich, photographs in dense fog: ``testv2`` with 40, and
    ``testv1`` with the 16 of them that the paper tests on (Sakaridis et al., ECCV 2018).

    The other 3768 images have no labels.
    """

    LAYOUT = (
        "lists_file_names/RGB_{testv1,testv2}_filenames.txt, RGB/<sequence>/<name>.png and "
        "gt_labelIds/<sequence>/<name>.png"
    )
    SPLITS = ("testv1", "testv2")
    CLASS_TABLE = "foggy_zurich"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = {"testv1": 16, "testv2": 40}  # the README of the download

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        file = root / f"lists_file_names/RGB_{self.split}_filenames.txt"
        images, labels = (files_by_place(root / each, ".png") for each in ("RGB", "gt_labelIds"))
        return listed_pairs(file, listed_names(file, "RGB", ".png"), images, labels)
