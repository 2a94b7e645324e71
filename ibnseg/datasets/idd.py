"""Adapter for the India Driving Dataset as its two archives unpack: photographs, and polygons in
JSON, which are painted when they are read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.labels import IGNORE, ClassSet
from ibnseg.datasets.polygons import Polygons
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place
from ibnseg.support.errors import UserError

PARTS = (".", "IDD_Segmentation", "idd20kII")
"""The folders below the root that may hold files: itself, and those that the archives of parts I
and II unpack to."""

IDS = {row.name: row.id for row in classes_of("idd").rows}
"""The ids of the labels by name, as in AutoNUE/public-code:helpers/anue_labels.py."""

_LEVEL3 = classes_of("idd_level3")
_EVALUATED = [row for row in _LEVEL3.rows if row.id != IGNORE]
_MERGED = {name: row.id for row in _EVALUATED for name in row.name.split(" + ")}


@DATASETS.register_module()
class IDD(DrivingDataset):
    """Reads IDD, photographs of Indian roads, mostly of 1920x1080 (Varma et al., WACV 2019): 14027
    training and 2036 validation ones in both parts, 6993 and 981 in part I alone.

    The downloads have no label maps. What AutoNUE/public-code:preparation/createLabels.py makes
    with ``--id-type id`` is painted here from the same polygons; the ids then become those of
    ``csTrainId``. Twelve training and validation images of part II have no polygons; so up to one
    image in a hundred is left out with a warning.
    """

    LAYOUT = (
        "leftImg8bit/{train,val}/<drive>/<id>_leftImg8bit.{png,jpg} and "
        "gtFine/{train,val}/<drive>/<id>_gtFine_polygons.json, there or in the folders "
        "IDD_Segmentation and idd20kII"
    )
    SPLITS = ("train", "val")
    LABEL_IDS = classes_of("idd").ids("cityscapes")
    CLASS_TABLE = "idd"
    CLASS_MAPS = {"dynalign": classes_of("idd").ids("dynalign")}
    label_reader = Polygons(IDS, IDS["unlabeled"])

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        return (
            _of_all_parts(
                root, f"leftImg8bit/{self.split}", "_leftImg8bit.png", "_leftImg8bit.jpg"
            ),
            _of_all_parts(root, f"gtFine/{self.split}", "_gtFine_polygons.json"),
        )

    def may_be_unpaired(self, root: Path) -> Fraction:
        return Fraction(1, 100)


@DATASETS.register_module()
class IDDLevel3(IDD):
    """Reads IDD with the 26 classes of level 3, on which its own benchmark reports."""

    CLASS_SET = ClassSet(
        "idd_level3",
        tuple(row.name for row in _EVALUATED),
        tuple(row.color for row in _EVALUATED),
        ids=tuple(row.id for row in _EVALUATED),
    )
    LABEL_IDS = {id_: _MERGED.get(name, IGNORE) for name, id_ in IDS.items()}
    CLASS_MAPS = {}


def _of_all_parts(root: Path, folder: str, *suffixes: str) -> dict[str, Path]:
    """Lists the files of all parts by drive and id.

    Raises:
        UserError: if two parts have the same file.
    """
    found: dict[str, Path] = {}
    for part in PARTS:
        for key, path in files_by_place(root / part / folder, *suffixes).items():
            other = found.setdefault(key, path)
            if other != path:
                raise UserError(f"{path}: is also in {other.parent}; remove one of them")
    return found
