"""The paper's appearances: constants added to the channels, and the contrast stretched.

An image is ``(..., 3)``, channels last, RGB; a NumPy array or a tensor, floating point, on the
scale of 0 to 255 and never clipped to it. What comes back is of the same shape, dtype and device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from torch import Tensor

Image = TypeVar("Image", np.ndarray, Tensor)

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Of the colours of ImageNet's training images, RGB."""


def shift(image: Image, by: Sequence[float]) -> Image:
    """Adds a constant to each channel.

    Args:
        image: as above.
        by: of R, G and B.

    Raises:
        TypeError: if the image is not floating point, where sums would wrap around.
    """
    return image + _alike(by, image)


def stretch(image: Image, factor: float, mean: Sequence[float]) -> Image:
    """Stretches the contrast about a fixed mean: ``mean + factor * (image - mean)``.

    An image normalised with that mean is multiplied by the factor.

    Args:
        image: as above.
        factor: of the standard deviation of each channel.
        mean: of R, G and B; stays as it is.

    Raises:
        TypeError: if the image is not floating point.
    """
    mean = _alike(mean, image)
    return mean + factor * (image - mean)


def _alike(channels: Sequence[float], image: Image) -> Image:
    """Three numbers as an array or tensor like an image."""
    floating = image.is_floating_point() if isinstance(image, Tensor) else image.dtype.kind == "f"
    if not floating:
        raise TypeError(f"expected a floating-point image, got {image.dtype}")
    if isinstance(image, Tensor):
        return image.new_tensor(channels)
    return np.asarray(channels, image.dtype)


# Pan et al., "Two at Once" (ECCV 2018), table 1. That IBN-b, whose stem is instance normalised,
# loses exactly nothing under std x1.5 there tells how it was done: in floating point, not clipped,
# about the mean of the normalisation.
PAPER: dict[str, Callable[[Image], Image]] = {
    "origin": partial(shift, by=(0, 0, 0)),
    "RGB+50": partial(shift, by=(50, 50, 50)),
    "R+50": partial(shift, by=(50, 0, 0)),
    "std x1.5": partial(stretch, factor=1.5, mean=IMAGENET_MEAN),
}
"""The appearances of the paper's table 1 by their names there."""
