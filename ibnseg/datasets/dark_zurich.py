"""Adapter for Dark Zurich as its zips unpack: rgb_anon and gt, photographs by night."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place


@DATASETS.register_module()
class DarkZurich(DrivingDataset):
    """Reads the validation split of Dark Zurich, 50 photographs of 1920x1080 by night (Sakaridis et
    al., ICCV 2019).

    Its 8377 training images have no labels, and the labels of its 151 test images are not public.
    Pixels that the masks ``*_gt_invIds.png`` call uncertain count like all others.
    """

    LAYOUT = (
        "rgb_anon/val/night/<sequence>/<name>_rgb_anon.png and "
        "gt/val/night/<sequence>/<name>_gt_labelTrainIds.png"
    )
    SPLITS = ("val",)
    CLASS_TABLE = "dark_zurich"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS = {"val": 50}  # onedl-mmsegmentation:docs and brdav/refign

    @classmethod
    def images(cls, root: Path, split: str) -> dict[str, Path]:
        """Lists a split's images by night by sequence and frame; ``train`` and ``test`` are allowed
        too, although they have no public labels."""
        return files_by_place(root / "rgb_anon" / split / "night", "_rgb_anon.png")

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        labels = files_by_place(root / "gt" / self.split / "night", "_gt_labelTrainIds.png")
        return self.images(root, self.split), labels
