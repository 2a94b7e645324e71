"""Adapter for Mapillary Vistas 2.0 as its zip unpacks, with the labels of version 2.0."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.mapillary import FOLDERS, MapillaryVistas
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name


@DATASETS.register_module()
class MapillaryVistas2(MapillaryVistas):
    """Reads Mapillary Vistas with the 124 classes of version 2.0, on the images of version 1.2.

    No correct map of them to the 19 is published. ``LABEL_IDS`` and ``class_map='openseg'`` have
    the meaning of the two maps of :class:`MapillaryVistas`. What version 1.2 did not tell apart is
    ignored, so numbers on the labels of both versions cannot be compared.
    """

    LAYOUT = (
        "{training,validation}/images/<name>.jpg and {training,validation}/v2.0/labels/<name>.png"
    )
    LABEL_IDS = classes_of("mapillary2").ids("cityscapes")
    CLASS_TABLE = "mapillary2"
    COUNTS = {"train": 18000, "val": 2000}
    CLASS_MAPS = {"openseg": classes_of("mapillary2").ids("openseg")}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        folder = root / FOLDERS[self.split]
        images = files_by_name(folder / "images", ".jpg")
        return images, files_by_name(folder / "v2.0" / "labels", ".png")
