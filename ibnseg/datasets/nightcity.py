"""Adapters for NightCity: the official labels, and those that NightCity-fine has refined."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name
from ibnseg.support.errors import UserError

COUNTS = {"train": 2998, "val": 1299}
"""The images of each split (xdeng7/NightLab, issue 3)."""

MISPLACED = "Dubai_0016"
"""A training image that some copies also have in val (xdeng7/NightLab, issue 4)."""


def without_misplaced(
    split: str, images: dict[str, Path], labels: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Checks that :data:`MISPLACED` is not in ``val``.

    Raises:
        UserError: if it is.
    """
    if split == "val" and MISPLACED in images:
        raise UserError(
            f"{images[MISPLACED]}: is a training image, which older copies of NightCity have in "
            "val; move it and its label to train"
        )
    return images, labels


@DATASETS.register_module()
class NightCity(DrivingDataset):
    """Reads NightCity, 2998 training and 1299 validation photographs of 1024x512 by night, from
    cities all over the world, with the official labels (Tan et al., TIP 2021)."""

    LAYOUT = (
        "NightCity-images/images/{train,val}/<name>.png and "
        "NightCity-label/label/{train,val}/<name>_labelIds.png"
    )
    SPLITS = ("train", "val")
    CLASS_TABLE = "nightcity"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = COUNTS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images = files_by_name(root / "NightCity-images/images" / self.split, ".png")
        labels = files_by_name(root / "NightCity-label/label" / self.split, "_labelIds.png")
        return without_misplaced(self.split, images, labels)


@DATASETS.register_module()
class NightCityFine(DrivingDataset):
    """Reads NightCity with the refined labels of NightCity-fine, which are train ids (Wei et al.,
    ICCV 2023). Its numbers cannot be compared with those of the official labels."""

    LAYOUT = "{train,val}/img/<name>.png and {train,val}/lbl/<name>_trainIds.png"
    SPLITS = ("train", "val")
    CLASS_TABLE = "nightcity_fine"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = COUNTS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images = files_by_name(root / self.split / "img", ".png")
        labels = files_by_name(root / self.split / "lbl", "_trainIds.png")
        return without_misplaced(self.split, images, labels)
