"""Turns what Python programs have as images (arrays, tensors, Pillow's) into RGB arrays."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ibnseg.support.errors import UserError

EXPECTED = (
    "expected a path, a PIL image, a uint8 array (H, W, 3) in RGB, (H, W, 4) or (H, W), or a "
    "tensor (3, H, W) in RGB, of uint8 or of floats from 0 to 1; or a list of these"
)
"""What an image may be, for errors."""

_DEEPER = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of more than 8 bits, which it would cut instead of scaling them."""


def as_rgb(image: object, name: str = "image") -> np.ndarray:
    """Returns an image as (H, W, 3) uint8, RGB.

    Pixels stay where they are, whatever orientation a PIL image has in its EXIF data; grey becomes
    three equal channels, and an alpha channel is dropped.

    Args:
        image: an array, (H, W, 3) uint8 in RGB, (H, W, 4) with alpha, or grey as (H, W) or
            (H, W, 1); a tensor with its channels first, of uint8 or of floats in [0, 1]; or a PIL
            image of 8 bits a channel.
        name: what errors call it.

    Raises:
        UserError: for anything else; it says what was found.
    """
    if isinstance(image, Image.Image):
        if image.mode in _DEEPER:
            raise UserError(f"{name}: found a PIL image of mode {image.mode}, {EXPECTED}")
        image = np.asarray(image.convert("RGB"))
    elif isinstance(image, torch.Tensor):
        image = _channels_last(image, name)
    if not isinstance(image, np.ndarray):
        raise UserError(f"{name}: found a {type(image).__name__}, {EXPECTED}")
    grey = image[..., None] if image.ndim == 2 else image
    if grey.ndim != 3 or grey.shape[2] not in (1, 3, 4) or grey.size == 0:
        raise UserError(f"{name}: found an array of shape {image.shape}, {EXPECTED}")
    if image.dtype != np.uint8:
        raise UserError(f"{name}: found {image.dtype}{_values(image)}, {EXPECTED}")
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey[..., :3]


def _channels_last(image: torch.Tensor, name: str) -> np.ndarray:
    """A tensor as an array with its channels last; floats become whole numbers from 0 to 255."""
    pixels = image.detach().cpu()
    if pixels.ndim == 3:
        if pixels.shape[0] not in (1, 3, 4):
            raise UserError(f"{name}: found a tensor of shape {tuple(image.shape)}, {EXPECTED}")
        pixels = pixels.permute(1, 2, 0)
    if pixels.is_floating_point() and pixels.numel():
        pixels = pixels.float()
        low, high = (float(each) for each in (pixels.min(), pixels.max()))
        if not 0 <= low <= high <= 1:  # so that normalised and missing values are refused, too
            raise UserError(
                f"{name}: found a tensor with values from {low:.4g} to {high:.4g}, {EXPECTED}"
            )
        pixels = (255 * pixels).round().to(torch.uint8)
    return pixels.numpy()


def _values(image: np.ndarray) -> str:
    if image.dtype.kind not in "biuf":
        return ""
    return f" with values from {float(image.min()):.4g} to {float(image.max()):.4g}"
