"""The paper's appearances: constants added to the channels, and a stretched contrast.

Images are ``(..., 3)``, channels last, RGB: NumPy arrays or tensors of floating point, on the scale
of 0 to 255 and never clipped to it. Results have the same shape, dtype and device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from torch import Tensor

Image = TypeVar("Image", np.ndarray, Tensor)

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""The mean colour of ImageNet's training images, RGB, from 0 to 255."""


def shift(image: Image, by: Sequence[float]) -> Image:
    """Adds a constant to each channel.

    Args:
        image: (..., 3), RGB, floating point.
        by: the constants of R, G and B.

    Raises:
        TypeError: if the image is not floating point, because integers would wrap around.
    """
    return image + _alike(by, image)


def stretch(image: Image, factor: float, mean: Sequence[float]) -> Image:
    """Stretches the contrast about a fixed mean: ``mean + factor * (image - mean)``.

    An image that is normalised with that mean afterwards is multiplied by the factor.

    Args:
        image: (..., 3), RGB, floating point.
        factor: the factor by which the standard deviation of each channel grows.
        mean: the values of R, G and B that stay as they are.

    Raises:
        TypeError: if the image is not floating point.
    """
    mean = _alike(mean, image)
    return mean + factor * (image - mean)


def _alike(channels: Sequence[float], image: Image) -> Image:
    """Turns three numbers into an array or tensor of the image's dtype and device."""
    floating = image.is_floating_point() if isinstance(image, Tensor) else image.dtype.kind == "f"
    if not floating:
        raise TypeError(f"expected a floating-point image, got {image.dtype}")
    if isinstance(image, Tensor):
        return image.new_tensor(channels)
    return np.asarray(channels, image.dtype)


# Pan et al., "Two at Once" (ECCV 2018), table 1. There IBN-b, whose stem has instance
# normalisation, loses exactly nothing under std x1.5; so images were stretched in floating point,
# not clipped, and about the mean of the normalisation.
PAPER: dict[str, Callable[[Image], Image]] = {
    "origin": partial(shift, by=(0, 0, 0)),
    "RGB+50": partial(shift, by=(50, 50, 50)),
    "R+50": partial(shift, by=(50, 0, 0)),
    "std x1.5": partial(stretch, factor=1.5, mean=IMAGENET_MEAN),
}
"""The appearances of the paper's table 1, by the names that they have there."""
