"""Labels that are downloaded as colours, of datasets whose classes have no ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.pictures import read_label
from ibnseg.datasets.sizes import stored_size
from ibnseg.datasets.transforms.loading import colors_to_train_ids
from ibnseg.support.errors import UserError


class ColorLabels:
    """Reads labels as places of their colours in a table.

    Args:
        colors: the RGB colours; the place of a colour, counted from 0, is the id of its class.
    """

    def __init__(self, colors: Sequence[tuple[int, int, int]]) -> None:
        self._ids = {color: place for place, color in enumerate(colors)}

    def ids(self, path: str | Path) -> np.ndarray:
        """Reads a label, (H, W) uint8.

        Raises:
            UserError: if it is missing, damaged or not RGB, or has a colour that is not listed.
        """
        label = read_label(path)
        if label.ndim != 3:
            raise UserError(
                f"{path}: has one channel, expected RGB, for the classes of this dataset are "
                "colours; take the original"
            )
        return colors_to_train_ids(label, self._ids, path)

    def size(self, path: str | Path) -> tuple[int, int]:
        """The (width, height) of a label.

        Raises:
            UserError: if it is missing, or no image.
        """
        return stored_size(path)

    def identity(self) -> str:
        """The colours."""
        return json.dumps(list(self._ids))


class ColoredDataset(DrivingDataset):
    """A dataset whose ids are the places of colours; its ``label_reader`` is :class:`ColorLabels`.

    ``LABEL_IDS`` and ``CLASS_MAPS`` map these places to train ids.
    """

    def _tables(
        self, class_map: str | Mapping[str, str] | None
    ) -> tuple[dict[int, int], dict[tuple[int, int, int], int]]:
        ids, colors = super()._tables(class_map)
        return ids or dict(enumerate(colors.values())), {}
