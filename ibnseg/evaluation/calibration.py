"""Calibration: whether a network is right as often as it is confident.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, over pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ibnseg.datasets.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

BINS = 15
"""Bins of confidence, of equal width, as in the paper's tables."""
_PIXELS = 1 << 18  # looked at together, so that little memory is needed beside the logits


def confidence(logits: Tensor) -> np.ndarray:
    """Computes the largest softmax probability of each pixel.

    Args:
        logits: ``(C, H, W)`` floating point, on any device.

    Returns:
        ``(H, W)`` float32 in (0, 1].
    """
    _, height, width = logits.shape
    found = np.empty((height, width), np.float32)
    rows = max(_PIXELS // width, 1)
    for top in range(0, height, rows):
        part = logits[:, top : top + rows].float()
        best = (part.amax(dim=0) - part.logsumexp(dim=0)).exp()
        found[top : top + rows] = best.cpu().numpy()
    return found


def calibration_counts(
    label: np.ndarray, prediction: np.ndarray, confidences: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """Counts an image's pixels, and how many of them are right, in bins of confidence.

    Args:
        label: ``(H, W)`` uint8 train ids; ignored pixels do not count.
        prediction: ``(H, W)`` uint8 train ids.
        confidences: ``(H, W)`` float32 in [0, 1], of the prediction.
        bins: B; bin b holds the confidences above b / B, up to (b + 1) / B.

    Returns:
        ``(B, 3)`` float64 sums over the pixels of each bin: their number, the number that is right,
        their confidence. The sum over images is that of a set.
    """
    counted = label != IGNORE
    own = confidences[counted].astype(np.float64)
    right = (label == prediction)[counted]
    place = np.clip(np.ceil(own * bins).astype(np.intp) - 1, 0, bins - 1)
    weights = (None, right, own)
    return np.stack([np.bincount(place, each, bins) for each in weights], axis=-1).astype(float)


def expected_calibration_error(counts: np.ndarray) -> np.ndarray:
    """Averages over bins how far the confidence is from the share of pixels that are right.

    This is equation 3 of the paper: bins are weighted by their number of pixels.

    Args:
        counts: ``(..., B, 3)`` from :func:`calibration_counts`.

    Returns:
        ``(...)`` float64 fractions, NaN if there are no pixels.
    """
    pixels, right, own = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore"):
        return np.abs(right - own).sum(axis=-1) / pixels.sum(axis=-1)
