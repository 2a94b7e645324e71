"""How an image and its label are shown to a network in testing: sizes and crops, one after another.

The label decides where predictions are compared: logits are resized to its size.
"""

from __future__ import annotations

from collections.abc import Callable

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from ibnseg.datasets.labels import IGNORE
from ibnseg.registry import TRANSFORMS

Size = tuple[int, int]
"""(width, height) in pixels."""


def _times(size: Size, factor: float) -> Size:
    """Both edges times a factor, rounded half up, as mmcv and detectron2 round them, 1 at least."""
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
"""Rules from a size and what it is to become to the new size."""


def new_size(size: Size, rule: str, to: float | Size | None) -> Size:
    """The size of an image under one of the rules of ``SIZES``.

    Args:
        size: (width, height).
        rule: ``exact``: (width, height); ``times``: a factor; ``within``: two edges, proportions
            kept; ``short_edge``, ``height``: pixels, proportions kept; ``half``: None.
        to: the rule's value.
    """
    return SIZES[rule](size, to)


def centre_crop(image: np.ndarray, size: Size, fill: int) -> np.ndarray:
    """The middle of an image; where the image is smaller, ``fill`` around it.

    Args:
        image: (H, W) or (H, W, C).
        size: (width, height).
        fill: a value of the image.
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
    """Resizes ``img`` and ``gt_seg_map`` together: predictions are compared at the new size.

    By Pillow, as the field's own scripts do it: the image with the given interpolation, the label
    by nearest neighbour.

    Args:
        rule, to: of :func:`new_size`.
        interpolation: ``'bicubic'`` or ``'bilinear'``.
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
    """Crops ``img`` and ``gt_seg_map`` together; what lies beyond the image is black and ignored.

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
    """Resizes ``img`` alone, bilinearly, as mmseg does; predictions are compared with the label as
    it is.

    Args:
        rule, to: of :func:`new_size`.
    """

    def __init__(self, rule: str, to: float | Size | None) -> None:
        self.rule, self.to = rule, to

    def transform(self, results: dict) -> dict:
        height, width = results["img"].shape[:2]
        size = new_size((width, height), self.rule, self.to)
        results["img"] = mmcv.imresize(results["img"], size, interpolation="bilinear")
        results["img_shape"] = results["img"].shape[:2]
        return results
