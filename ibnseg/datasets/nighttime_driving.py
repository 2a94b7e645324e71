"""Adapter for the test set of Nighttime Driving as its zip unpacks: coarse labels of train ids."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name


@DATASETS.register_module()
class NighttimeDriving(DrivingDataset):
    """Reads Nighttime Driving, 50 test photographs of 1920x1080 by night with coarse labels (Dai
    and Van Gool, ITSC 2018).

    The official labels have errors. Attila94/CIConv publishes corrected ones
    (experiments/3_segmentation/night.zip), whose numbers cannot be compared with those of the
    official ones.
    """

    LAYOUT = (
        "leftImg8bit/test/night/<name>_leftImg8bit.png and "
        "gtCoarse_daytime_trainvaltest/test/night/<name>_gtCoarse_labelTrainIds.png"
    )
    SPLITS = ("test",)
    CLASS_TABLE = "nighttime_driving"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = {"test": 50}  # sakaridis/MGCDA:data/NighttimeDrivingTest_lists_file_names

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        labels = root / "gtCoarse_daytime_trainvaltest" / self.split / "night"
        return (
            files_by_name(root / "leftImg8bit" / self.split / "night", "_leftImg8bit.png"),
            files_by_name(labels, "_gtCoarse_labelTrainIds.png"),
        )
