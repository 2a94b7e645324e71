"""Images of 8 bits: the check of their dtype, and the way back from floating point."""

from __future__ import annotations

import cv2
import numpy as np

VALUES = np.arange(256, dtype=np.float64)
"""All values that a pixel of 8 bits can have."""


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Returns a uint8 image in contiguous memory, which OpenCV needs.

    Raises:
        TypeError: if the image has another dtype.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected a uint8 image, got {image.dtype}")
    return np.ascontiguousarray(image)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounds values to the nearest integer (halves to even) and clips them to 0 to 255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def mapped(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replaces every value of an image by its entry in a table, rounded and clipped.

    Args:
        image: (H, W, 3) uint8.
        table: what each of :data:`VALUES` becomes: (256,), or (256, 3) for a table of each channel.

    Raises:
        TypeError: if the image is not uint8.
    """
    return cv2.LUT(as_uint8(image), to_uint8(table).reshape(1, 256, -1))
