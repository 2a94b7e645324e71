"""Adapter for UrbanSyn as its zips unpack, with train ids in the labels."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.labels import IGNORE
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import list_files
from ibnseg.support.errors import UserError

LAST_OF_TRAIN = 6016
"""The number of the last training image; see :class:`UrbanSyn`."""


@DATASETS.register_module()
class UrbanSyn(DrivingDataset):
    """Reads UrbanSyn, 7539 renderings of 2048x1024 (Gómez et al., 2023).

    There is no official split. ``train`` is the first 6016 images and ``val`` the other 1523, as in
    a public loader, and ``all``, on which most papers train, is both.
    """

    LAYOUT = "rgb/rgb_<number>.png and ss/ss_<number>.png"
    SPLITS = ("train", "val", "all")
    LABEL_IDS = {**classes_of("urbansyn").ids("cityscapes"), IGNORE: IGNORE}
    CLASS_TABLE = "urbansyn"
    COUNTS = {"train": 6016, "val": 1523, "all": 7539}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        return self._numbered(root, "rgb"), self._numbered(root, "ss")

    def _numbered(self, root: Path, kind: str) -> dict[str, Path]:
        """The split's files of a kind, by their numbers."""
        found = {}
        for path in list_files(root / kind, ".png"):
            number = path.stem.removeprefix(f"{kind}_")
            if not (number.isdecimal() and path.stem.startswith(kind)):
                raise UserError(
                    f"{path}: is not called {kind}_<number>.png; expected the layout {self.LAYOUT}"
                )
            if self.split == "all" or (int(number) <= LAST_OF_TRAIN) == (self.split == "train"):
                found[number] = path
        return found
