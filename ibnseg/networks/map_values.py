"""What the values of label maps stand for: the classes of a domain, or none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from ibnseg.datasets.labels import CITYSCAPES, IGNORE, LABELS, ClassSet
from ibnseg.datasets.pictures import read_colors, read_label
from ibnseg.datasets.transforms.loading import colors_to_train_ids
from ibnseg.support.errors import UserError

KIND = "label map"
"""What errors call a file."""

Table = Mapping[object, int]
"""From the values of a map to the places of classes; K, their number, is no class."""


def _train_ids(class_set: ClassSet) -> dict[int, int]:
    none = len(class_set.classes)
    return {IGNORE: none} | {i: i for i in range(none)}


def _label_ids(class_set: ClassSet) -> dict[int, int]:
    if class_set.ids is None:
        raise UserError(
            f"the ids of {class_set.name} in its labels are not known; state them in its ClassSet, "
            'as ids=(...), or write maps of train ids ("ids": "train")'
        )
    void = [label.id for label in _void(class_set)]
    none = dict.fromkeys([*void, IGNORE], len(class_set.classes))
    return none | {id_: i for i, id_ in enumerate(class_set.ids)}


def _colors(class_set: ClassSet) -> dict[tuple[int, int, int], int]:
    palette = [tuple(color) for color in class_set.palette]
    if len(set(palette)) < len(palette):
        raise UserError(
            f"two classes of {class_set.name} have one colour, so its maps cannot be read by their "
            'colours; write maps of train ids ("ids": "train")'
        )
    void = dict.fromkeys((label.color for label in _void(class_set)), len(palette))
    return void | {color: i for i, color in enumerate(palette)}


def _void(class_set: ClassSet) -> list:
    """The labels beside the classes that the table of labels knows."""
    known = LABELS if class_set == CITYSCAPES else ()
    return [label for label in known if label.train_id == IGNORE]


IDS: dict[str, Callable[[ClassSet], Table]] = {
    "train": _train_ids,
    "label": _label_ids,
    "color": _colors,
}
"""What the values of maps may be, by the word for it: train ids, the ids that the classes have in
labels, and colours of the classes. Each makes the table for a class set."""

WORDS = {"train": "train id", "label": "label id"}


def read_map(path: str | Path, ids: str, table: Table) -> np.ndarray:
    """Reads a label map as classes.

    Args:
        path: a PNG, TIFF or BMP.
        ids: one of :data:`IDS`.
        table: what that makes of the class set.

    Returns:
        (H, W) uint8, the places of classes; their number K for a pixel that has none.

    Raises:
        UserError: for a file that cannot be read, is not of 8-bit values, or may have lost some by
            compression; and for a value that is not in the table.
    """
    if ids == "color":
        return colors_to_train_ids(read_colors(path, KIND), table, path)
    found = read_label(path, kind=KIND)
    if found.ndim > 2:
        raise UserError(
            f"{path}: {KIND} is stored as RGB, expected one channel of 8-bit {WORDS[ids]}s; if it "
            'shows the colours of the classes, write "ids": "color" into predictions.json'
        )
    present = np.flatnonzero(cv2.calcHist([found], [0], None, [256], [0, 256]))
    unknown = [value for value in present.tolist() if value not in table]
    if unknown:
        raise UserError(
            f"{path}: {KIND} has {_list(unknown)}, no {WORDS[ids]} of a class; expected "
            f"{_list(sorted(table))} ({IGNORE} for none){_HINTS[ids]}"
        )
    known = np.zeros(256, np.uint8)
    known[list(table)] = list(table.values())
    return cv2.LUT(found, known)


_HINTS = {
    "train": '; if these are ids of labels, write "ids": "label" into predictions.json',
    "label": "",
}


def _list(values: list[int], most: int = 40) -> str:
    """Numbers in words; neighbours that follow each other are joined, such as ``0 to 18, 255``."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")
