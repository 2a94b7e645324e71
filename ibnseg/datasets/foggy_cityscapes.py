"""Adapter for Foggy Cityscapes as its zip unpacks beside gtFine: fog of three densities that was
added to Cityscapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.cityscapes import Cityscapes
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place
from ibnseg.support.errors import unknown_name

BETAS = ("0.005", "0.01", "0.02")
"""The attenuation coefficients, in 1/m, as the file names have them: a visibility of about 600, 300
and 150 m."""


@DATASETS.register_module()
class FoggyCityscapes(DrivingDataset):
    """Reads Foggy Cityscapes: each of the 2975 training and 500 validation images of Cityscapes
    with fog of each density, and with the labels of Cityscapes (Sakaridis et al., IJCV 2018).

    Args:
        betas: the densities to keep, of ``BETAS``; all if None.
        kwargs: the arguments of :class:`DrivingDataset`.
    """

    LAYOUT = (
        "leftImg8bit_foggy/{train,val}/<city>/<name>_leftImg8bit_foggy_beta_{0.005,0.01,0.02}.png "
        "and gtFine/{train,val}/<city>/<name>_gtFine_labelIds.png"
    )
    SPLITS = Cityscapes.SPLITS
    CLASS_TABLE = Cityscapes.CLASS_TABLE
    LABEL_IDS = Cityscapes.LABEL_IDS

    def __init__(self, *args, betas: Sequence[str] | None = None, **kwargs) -> None:
        for beta in betas or ():
            if beta not in BETAS:
                raise unknown_name("beta of FoggyCityscapes", beta, BETAS)
        self.betas = tuple(betas or BETAS)
        super().__init__(*args, **kwargs)

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        folder = root / "leftImg8bit_foggy" / self.split
        images = {
            f"{place} {beta}": path
            for beta in self.betas
            for place, path in files_by_place(folder, f"_leftImg8bit_foggy_beta_{beta}.png").items()
        }
        labels = {
            f"{place} {beta}": path
            for place, path in Cityscapes.labels(root, self.split).items()
            for beta in self.betas
        }
        return images, labels

    def official_count(self) -> int:
        return {"train": 2975, "val": 500}[self.split] * len(self.betas)
