"""Adapter for Cityscapes as its zips unpack: leftImg8bit and gtFine, 34 ids."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name, list_folders


@DATASETS.register_module()
class Cityscapes(DrivingDataset):
    """Reads Cityscapes, 2975 training and 500 validation photographs of 2048x1024 from 21 cities.

    The 1525 test images cannot be tested on, because their public labels hold only void. If every
    label has a ``*_gtFine_instanceIds.png`` beside it, testing reads these instance maps too.
    """

    LAYOUT = (
        "leftImg8bit/{train,val}/<city>/<name>_leftImg8bit.png and "
        "gtFine/{train,val}/<city>/<name>_gtFine_labelIds.png"
    )
    SPLITS = ("train", "val")
    LABEL_IDS = CITYSCAPES_IDS
    CLASS_TABLE = "cityscapes"

    @classmethod
    def images(cls, root: Path, split: str) -> dict[str, Path]:
        """Lists a split's images by city and frame; ``test`` is allowed too."""
        return _by_frame(root / "leftImg8bit" / split, "_leftImg8bit.png")

    @classmethod
    def labels(cls, root: Path, split: str) -> dict[str, Path]:
        """Lists a split's labels by city and frame; those of ``test`` hold only void."""
        return _by_frame(root / "gtFine" / split, "_gtFine_labelIds.png")

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        return self.images(root, self.split), self.labels(root, self.split)

    def instance_maps(self, root: Path) -> dict[str, Path]:
        return _by_frame(root / "gtFine" / self.split, "_gtFine_instanceIds.png")


def _by_frame(folder: Path, suffix: str) -> dict[str, Path]:
    return {
        f"{city.name}/{frame}": path
        for city in list_folders(folder)
        for frame, path in files_by_name(city, suffix).items()
    }
