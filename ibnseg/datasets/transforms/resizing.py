"""Labels resized about the same centres as their images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import mmcv.transforms
import numpy as np
from mmcv.transforms import BaseTransform, Compose

from ibnseg.datasets.upstream import ResizeToMultiple, SegRescale
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError


def resize_label(label: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes a map of ids about the same centres as OpenCV, Pillow and torch resize images.

    The new pixel (x, y) has the id of the old pixel whose centre is nearest to
    ``((x + 1/2) W / w - 1/2, (y + 1/2) H / h - 1/2)``; if two are as near, of either. Ids are never
    mixed.

    OpenCV's ``INTER_NEAREST``, and so mmcv's ``imresize`` and ``Resize``, takes ``floor(x W / w)``
    instead, which moves a label by half a pixel of the result to the right and down (opencv 10146,
    albumentations 850; torch's ``nearest`` does the same, pytorch 34808).

    Args:
        label: (H, W), boolean or whole numbers of up to 32 bits.
        size: (width, height) of the result.

    Returns:
        (height, width), of the same type.

    Raises:
        ValueError: for whole numbers of 64 bits, of which OpenCV keeps 32.
    """
    require_32_bits(label)
    return cv2.resize(label, tuple(size), interpolation=cv2.INTER_NEAREST_EXACT)


def require_32_bits(label: np.ndarray) -> None:
    """Refuses a map of ids of more bits, of which OpenCV would keep 32.

    Raises:
        ValueError: for such a map.
    """
    if label.dtype.itemsize > 4:
        raise ValueError(f"a label of {label.dtype} cannot be resized; expected at most 32 bits")


@TRANSFORMS.register_module()
class CentredResize(mmcv.transforms.Resize):
    """mmcv's ``Resize``, with the label about the same centres as the image."""

    def _resize_seg(self, results: dict) -> None:
        if results.get("gt_seg_map") is not None:
            height, width = results["img_shape"]
            results["gt_seg_map"] = resize_label(results["gt_seg_map"], (width, height))


def check_resizes(steps: Iterable[BaseTransform], where: str) -> None:
    """Checks that no step, nor any within it, moves labels against their images.

    Args:
        steps: of a pipeline.
        where: what errors call them.

    Raises:
        UserError: for a step that resizes labels by OpenCV's ``INTER_NEAREST``.
    """
    for step in _with_those_within(steps):
        by_mmcv = False
        if isinstance(step, mmcv.transforms.Resize) and step.backend == "cv2":
            by_mmcv = type(step)._resize_seg.__module__.split(".")[0] in ("mmcv", "mmseg")
        if by_mmcv or isinstance(step, (ResizeToMultiple, SegRescale)):
            raise UserError(
                f"{where}: mmcv's {type(step).__name__} moves labels half a pixel against their "
                "images; take ibnseg.CentredResize, or resize_type='ibnseg.CentredResize' in a "
                "transform that draws a size"
            )


def _with_those_within(steps: Iterable) -> Iterator[BaseTransform]:
    """Every transform among some objects, and in their attributes."""
    for step in steps:
        if isinstance(step, (list, tuple)):
            yield from _with_those_within(step)
        elif isinstance(step, (BaseTransform, Compose)):
            yield step
            yield from _with_those_within(vars(step).values())
