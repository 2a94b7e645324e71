"""Crops of resized images and labels, for which the rest is not resized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ibnseg.datasets.transforms.resizing import require_32_bits, resize_label


class Axis(NamedTuple):
    """One axis of a crop: the pixels ``start`` to ``stop`` of ``new`` ones, which ``old`` ones are
    resized to."""

    old: int
    new: int
    start: int
    stop: int

    def source(self, reach: float) -> tuple[int, int]:
        """The old pixels (first, last + 1) that lie within the crop or at most ``reach`` beyond."""
        scale = self.old / self.new
        first, last = self.start * scale - reach, self.stop * scale + reach
        return max(0, math.floor(first)), min(self.old, math.ceil(last))


def axes(shape: Sequence[int], size: Sequence[int], window: Sequence[int]) -> tuple[Axis, Axis]:
    """Describes a crop by its two axes, down and across.

    Args:
        shape: (H, W, ...) of the stored image.
        size: (width, height) that the whole image is resized to.
        window: the crop (top, bottom, left, right) of the resized image; it is cut where that ends.
    """
    (width, height), (top, bottom, left, right) = size, window
    return (
        Axis(shape[0], height, top, min(bottom, height)),
        Axis(shape[1], width, left, min(right, width)),
    )


def bilinear_crop(image: np.ndarray, down: Axis, across: Axis) -> np.ndarray:
    """Returns a crop of the image that OpenCV resizes bilinearly, bit for bit.

    OpenCV places the new pixels relative to the upper left corner. So all from there to the lower
    right corner of the crop are computed, and none beyond.

    Args:
        image: (H, W, 3) uint8.
        down, across: the axes of the crop.
    """
    factors = down.new / down.old, across.new / across.old
    ends = down.source(2)[1], across.source(2)[1]
    if tuple(round(end * factor) for end, factor in zip(ends, factors, strict=True)) == ends:
        ends = image.shape[:2]  # OpenCV would copy the part, because its size stays
    part = image[: ends[0], : ends[1]]
    if isinstance(image, np.memmap):  # of the file, only what the crop shows is read
        above, before = down.source(2)[0], across.source(2)[0]
        part = np.empty(part.shape, np.uint8)
        part[above:, before:] = image[above : ends[0], before : ends[1]]
    resized = cv2.resize(part, None, fx=factors[1], fy=factors[0], interpolation=cv2.INTER_LINEAR)
    return resized[down.start : down.stop, across.start : across.stop]


def bicubic_crop(image: np.ndarray, down: Axis, across: Axis) -> np.ndarray:
    """Returns a crop of the image that Pillow resizes bicubically, bit for bit.

    Pillow widens an image before it stretches it. So an image that grows is widened in the rows
    that the crop is made of, and stretched in the columns of the crop. One that shrinks is resized
    as a whole, because Pillow shrinks rows or columns first as it finds cheaper.

    Args:
        image: (H, W, 3) uint8.
        down, across: the axes of the crop.
    """
    if down.new < down.old or across.new < across.old:
        resized = _pillow(image, across.new, down.new)
        return resized[down.start : down.stop, across.start : across.stop]
    first, end = down.source(3)
    wide = _pillow(image[first:end], across.new, end - first)[:, across.start : across.stop]
    tall = np.zeros((down.old, *wide.shape[1:]), np.uint8)
    tall[first:end] = wide
    return _pillow(tall, wide.shape[1], down.new)[down.start : down.stop]


def _pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def label_crop(label: np.ndarray, down: Axis, across: Axis) -> np.ndarray:
    """Returns a crop of a map of ids that is resized by
    :func:`~ibnseg.datasets.transforms.resizing.resize_label`.

    Args:
        label: (H, W), boolean or whole numbers of up to 32 bits.
        down, across: the axes of the crop.

    Raises:
        ValueError: for whole numbers of 64 bits.
    """
    require_32_bits(label)
    rows, columns = (_nearest(axis) for axis in (down, across))
    part = label[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    rows, columns = rows - rows[0], columns - columns[0]
    if down.new > down.old:  # the fewer rows first
        return _columns(part, columns)[rows]
    return _columns(part[rows], columns)


def _columns(label: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Takes columns of a map of ids, which is turned for it, because rows are taken much faster."""
    return cv2.transpose(cv2.transpose(label)[columns])


def _nearest(axis: Axis) -> np.ndarray:
    """The old pixel that each new one has the id of."""
    whole = resize_label(np.arange(axis.old, dtype=np.int32)[None], (axis.new, 1))
    return whole[0, axis.start : axis.stop].astype(np.intp)


CROPS = {"bilinear": bilinear_crop, "bicubic": bicubic_crop}
"""How a crop of a resized image is computed, by the interpolation."""
