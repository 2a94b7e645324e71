"""Adapter for RainCityscapes as its zip unpacks beside gtFine: rain that was added to a part of
Cityscapes."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.cityscapes import Cityscapes
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place

RAIN = "_leftImg8bit_rain_alpha_"
"""What follows the name of Cityscapes' image in the name of one with rain."""


@DATASETS.register_module()
class RainCityscapes(DrivingDataset):
    """Reads RainCityscapes: images of Cityscapes with rain and fog of three densities and twelve
    patterns each, and with the labels of Cityscapes (Hu et al., CVPR 2019).

    The images decide which labels are used, because only a part of Cityscapes has rain.
    """

    LAYOUT = (
        "leftImg8bit_rain/{train,val}/<city>/<name>_leftImg8bit_rain_alpha_<A>_beta_<B>_"
        "dropsize_<D>_pattern_<P>.png and gtFine/{train,val}/<city>/<name>_gtFine_labelIds.png"
    )
    SPLITS = Cityscapes.SPLITS
    CLASS_TABLE = Cityscapes.CLASS_TABLE
    LABEL_IDS = Cityscapes.LABEL_IDS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        found = files_by_place(root / "leftImg8bit_rain" / self.split, ".png")
        images = {place: path for place, path in found.items() if RAIN in place}
        frames = Cityscapes.labels(root, self.split)
        sources = {place: place.partition(RAIN)[0] for place in images}
        labels = {place: frames[name] for place, name in sources.items() if name in frames}
        return images, labels
