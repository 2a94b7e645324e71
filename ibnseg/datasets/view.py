"""The sizes and crops in which a network sees images and labels in testing.

Predictions are compared at the size of the label: logits are resized to it.
"""

from __future__ import annotations

from collections.abc import Callable

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from ibnseg.datasets.labels import IGNORE
from ibnseg.registry import TRANSFORMS

Size = tuple[int, int]
"""A size (width, height) in pixels."""


def _times(size: Size, factor: float) -> Size:
    """Multiplies both edges by a factor; they are rounded half up, as in mmcv and detectron2, and
    at least 1."""
    width, height = (max(1, int(edge * factor + 0.5)) for edge in size)
    return width, height


SIZES: dict[str, Callable[[Size, float | Size], Size]] = {
    "exact": lambda size, to: tuple(to),
    "times": _times,
    # as large as fits: the longer edge within the longer of the two, the shorter within the shorter
    "within": lambda size, to: _times(size, min(max(to) / max(size), min(to) / min(size))),
    "short_edge": lambda size, to: _times(size, to / min(size)),
    "height": lambda size, to: (int(size[0] / size[1] * to), to),  # the width is rounded down
    "half": lambda size, to: (size[0] // 2, size[1] // 2),
}
"""The rules for new sizes, each a callable (size, to) -> size."""


def new_size(size: Size, rule: str, to: float | Size | None) -> Size:
    """Computes the new size of an image by one of the rules in ``SIZES``.

    Args:
        size: (width, height).
        rule: the name of the rule.
        to: the value of the rule. ``exact``: (width, height); ``times``: a factor; ``within``: the
            two edges that the image must fit, proportions kept; ``short_edge`` and ``height``:
            pixels, proportions kept; ``half``: None.
    """
    return SIZES[rule](size, to)


def centre_crop(image: np.ndarray, size: Size, fill: int) -> np.ndarray:
    """Crops the middle of an image, and pads the image with ``fill`` if it is smaller.

    Args:
        image: (H, W) or (H, W, C).
        size: (width, height) of the result.
        fill: the value of padded pixels.
    """
    window = []
    pad = [(0, 0)] * image.ndim
    for axis, (have, want) in enumerate(zip(image.shape, reversed(size), strict=False)):
        start = max(round((have - want) / 2), 0)
        window.append(slice(start, start + want))
        before = max(want - have, 0) // 2
        pad[axis] = (before, max(want - have, 0) - before)
    return np.pad(image[tuple(window)], pad, constant_values=fill)


@TRANSFORMS.register_module()
class Rescale(BaseTransform):
    """Resizes ``img`` and ``gt_seg_map`` together, so that predictions are compared at the new
    size.

    As in the scripts of published methods, Pillow resizes the image with the given interpolation
    and the label by nearest neighbour. Pillow does both about the same centres, as
    :func:`~ibnseg.datasets.transforms.resizing.resize_label` does.

    Args:
        rule, to: the arguments of :func:`new_size`.
        interpolation: how the image is resized, ``'bicubic'`` or ``'bilinear'``.
    """

    def __init__(self, rule: str, to: float | Size | None, interpolation: str) -> None:
        self.rule, self.to, self.interpolation = rule, to, interpolation

    def transform(self, results: dict) -> dict:
        height, width = results["img"].shape[:2]
        size = new_size((width, height), self.rule, self.to)
        for key, way in (("img", self.interpolation), ("gt_seg_map", "nearest")):
            if key in results:
                results[key] = mmcv.imresize(
                    results[key], size, interpolation=way, backend="pillow"
                )
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class CentreCrop(BaseTransform):
    """Crops ``img`` and ``gt_seg_map`` together; beyond the image, pixels are black and ignored.

    Args:
        size: (width, height).
    """

    def __init__(self, size: Size) -> None:
        self.size = size

    def transform(self, results: dict) -> dict:
        for key, fill in (("img", 0), ("gt_seg_map", IGNORE)):
            if key in results:
                results[key] = centre_crop(results[key], self.size, fill)
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class RescaleImage(BaseTransform):
    """Resizes ``img`` alone, bilinearly as mmseg does; predictions are compared at the label's own
    size.

    Args:
        rule, to: the arguments of :func:`new_size`.
    """

    def __init__(self, rule: str, to: float | Size | None) -> None:
        self.rule, self.to = rule, to

    def transform(self, results: dict) -> dict:
        height, width = results["img"].shape[:2]
        size = new_size((width, height), self.rule, self.to)
        results["img"] = mmcv.imresize(results["img"], size, interpolation="bilinear")
        results["img_shape"] = results["img"].shape[:2]
        return results
