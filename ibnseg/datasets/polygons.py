"""Labels that are downloaded as polygons: JSON in the form of Cityscapes, painted when they are
read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import PIL
from mmengine.logging import print_log
from PIL import Image, ImageDraw

from ibnseg.datasets.pictures import MOST_PIXELS
from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_json, regular_file

FORM = '{"imgWidth": W, "imgHeight": H, "objects": [{"label": NAME, "polygon": [[x, y], ...]}]}'
"""What a file has, for error messages."""

ADVICE = "unpack or download it again"

_HEAD = 4096
"""The bytes in which the size of the image is looked for before the whole file is read."""

_GROUP = "group"


class Polygons:
    """Paints the polygons of a file in their order, as the generators of Cityscapes and IDD do.

    Deleted objects and those of fewer than three points are left out. A label that ends in
    ``group`` and is not known counts as the label without it. One that is not known then is left
    out with a warning, for so does the generator of IDD.

    Args:
        ids: the ids of the labels, by name.
        background: the id of pixels that no polygon covers.
    """

    def __init__(self, ids: Mapping[str, int], background: int) -> None:
        self._ids, self._background = dict(ids), background
        self._unknown: set[str] = set()

    def ids(self, path: str | Path) -> np.ndarray:
        """Paints a file, (H, W) uint8.

        Raises:
            UserError: if it is missing, or not of the form :data:`FORM`.
        """
        found = read_json(path, ADVICE)
        size = _size(path, found)
        image = Image.new("L", size, self._background)
        draw = ImageDraw.Draw(image)
        for label, points in _objects(path, found):
            id_ = self._id(label)
            if id_ is not None:
                draw.polygon(points, fill=id_)
            elif label not in self._unknown:
                self._unknown.add(label)
                print_log(
                    f"{path}: label '{label}' is not in the dataset's table; its polygons are "
                    "left out, as by the official generator",
                    logger="current",
                    level=logging.WARNING,
                )
        return np.asarray(image)

    def size(self, path: str | Path) -> tuple[int, int]:
        """The (width, height) of the image that a file is of.

        Raises:
            UserError: as :meth:`ids`.
        """
        try:
            with regular_file(path).open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        head = head.partition(b'"objects"')[0]
        found = [re.search(rb'"%b"\s*:\s*(\d+)\s*[,}]' % key, head) for key in _SIDES]
        if all(found):
            return _size(path, {k.decode(): int(m[1]) for k, m in zip(_SIDES, found, strict=True)})
        return _size(path, read_json(path, ADVICE))

    def identity(self) -> str:
        """Says what else decides the pixels: the ids, and the version of what paints them."""
        return json.dumps([sorted(self._ids.items()), self._background, PIL.__version__])

    def _id(self, label: str) -> int | None:
        if label not in self._ids and label.endswith(_GROUP):
            label = label[: -len(_GROUP)]
        return self._ids.get(label)


_SIDES = (b"imgWidth", b"imgHeight")


def _size(path: str | Path, found: object) -> tuple[int, int]:
    sides = [found.get(k.decode()) for k in _SIDES] if isinstance(found, dict) else []
    if not (sides and all(type(side) is int and side > 0 for side in sides)):
        raise UserError(f"{path}: has no size of an image, expected {FORM}; {ADVICE}")
    if sides[0] * sides[1] > MOST_PIXELS:
        raise UserError(f"{path}: is of an image of more than {MOST_PIXELS:,} pixels; {ADVICE}")
    return sides[0], sides[1]


def _objects(path: str | Path, found: Mapping) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Gives the label and the points of each object that is to be painted."""
    objects = found.get("objects")
    if not isinstance(objects, list):
        raise UserError(f"{path}: has no objects, expected {FORM}; {ADVICE}")
    for number, each in enumerate(objects):
        try:
            label, deleted = str(each["label"]), int(each.get("deleted", 0))
            points = [(x + 0, y + 0) for x, y in each["polygon"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: object {number} is no polygon ({error!r}), expected {FORM}; {ADVICE}"
            ) from error
        if not deleted and len(points) > 2:
            yield label, points
