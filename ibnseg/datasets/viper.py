"""Adapter for VIPER as its zips unpack: frames of videos by sequence, in parts by the last digit of
their numbers."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place


@DATASETS.register_module()
class VIPER(DrivingDataset):
    """Reads VIPER, renderings of 1920x1080 in five weathers and times of day (Richter et al., ICCV
    2017): 77 training and 47 validation sequences.

    The zips hold the frames of one last digit each, or of all. If images or labels of a digit are
    not there at all, its other files are left out without a word, for they were not asked for. The
    labels of the test sequences are not public. ``class_map='vans_are_cars'`` counts vans, which
    the published map ignores.
    """

    LAYOUT = (
        "{train,val}/img/<sequence>/<sequence>_<frame>.{jpg,png} and "
        "{train,val}/cls/<sequence>/<sequence>_<frame>.png"
    )
    SPLITS = ("train", "val")
    LABEL_IDS = classes_of("viper").ids("cityscapes")
    CLASS_TABLE = "viper"
    CLASS_MAPS = {"vans_are_cars": classes_of("viper").ids("vans_are_cars")}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images = files_by_place(root / self.split / "img", ".jpg", ".png")
        labels = files_by_place(root / self.split / "cls", ".png")
        if not images or not labels:
            return images, labels
        digits = {key[-1] for key in images} & {key[-1] for key in labels}
        if not digits:
            return images, labels
        images, labels = (
            {key: path for key, path in files.items() if key[-1] in digits}
            for files in (images, labels)
        )
        return images, labels
