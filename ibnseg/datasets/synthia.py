"""Adapter for SYNTHIA-RAND-CITYSCAPES as its rar archive unpacks: labels of 16 bits and three
channels, the class in the first."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.gta5 import read_split
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name

UNPACKED = "RAND_CITYSCAPES"
"""The folder that the archive unpacks to."""


@cache
def validation_names() -> frozenset[str]:
    """The names of the 2820 images in ``val`` of the random split of shachoi/RobustNet:split_data,
    which is the only public one; all others are in ``train``."""
    split = read_split(Path(str(files("ibnseg.datasets") / "synthia_split.json")))
    return frozenset(f"{number:07d}" for number in split["val"])


@DATASETS.register_module()
class Synthia(DrivingDataset):
    """Reads SYNTHIA-RAND-CITYSCAPES, 9400 renderings of 1280x760 from random viewpoints (Ros et
    al., CVPR 2016).

    There is no official split. ``train`` and ``val`` are those of RobustNet, and ``all``, on which
    most papers train, is both. Terrain, truck and train do not occur.
    """

    LAYOUT = "RGB/%07d.png and GT/LABELS/%07d.png, there or in a folder RAND_CITYSCAPES"
    SPLITS = ("train", "val", "all")
    CLASS_TABLE = "synthia"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    LABEL_CHANNEL = "red"
    COUNTS = {"train": 6580, "val": 2820, "all": 9400}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        root = root / UNPACKED if (root / UNPACKED).is_dir() else root
        images, labels = (
            files_by_name(root / each, ".png") for each in ("RGB", Path("GT", "LABELS"))
        )
        if self.split == "all":
            return images, labels
        is_val = self.split == "val"
        images, labels = (
            {name: path for name, path in found.items() if (name in validation_names()) == is_val}
            for found in (images, labels)
        )
        return images, labels
