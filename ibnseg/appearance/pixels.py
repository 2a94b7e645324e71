"""Images of 8 bits: what is asked of them, and how floating point becomes one again."""

from __future__ import annotations

import cv2
import numpy as np

VALUES = np.arange(256, dtype=np.float64)
"""All that a pixel of 8 bits may be."""


def as_uint8(image: np.ndarray) -> np.ndarray:
    """A uint8 image, contiguous, as OpenCV wants it.

    Raises:
        TypeError: for another dtype.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected a uint8 image, got {image.dtype}")
    return np.ascontiguousarray(image)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest (halves to even), and clipped to 0 to 255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def mapped(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """An image through a table of what becomes of :data:`VALUES`: (256,), or (256, 3) by channel;
    rounded and clipped.

    Raises:
        TypeError: if the image is not uint8.
    """
    return cv2.LUT(as_uint8(image), to_uint8(table).reshape(1, 256, -1))
