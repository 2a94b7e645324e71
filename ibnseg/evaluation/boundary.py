"""Boundary IoU: the IoU of each class near boundaries alone, where large objects do not drown it.

Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021, over the masks of classes instead of objects.
"""

from __future__ import annotations

from math import hypot

import cv2
import numpy as np

from ibnseg.datasets.labels import IGNORE
from ibnseg.evaluation.confusion import mean_of_defined

DILATION = 0.02
"""Width of the band along boundaries, as a share of the image's diagonal (the authors' default)."""


def boundary_band(classes: np.ndarray, width: int) -> np.ndarray:
    """Finds the pixels of each class that are near a pixel of another one, or the image's border.

    The result is, for all classes at once, what the authors' ``mask_to_boundary`` gives for the
    mask of each: the mask minus its erosion by a square; what is outside of the image is not in
    the mask.

    Args:
        classes: ``(H, W)`` uint8.
        width: the width of the band in pixels, at least 1.

    Returns:
        ``(H, W)`` bool.
    """
    square = np.ones((2 * width + 1,) * 2, np.uint8)
    band = cv2.erode(classes, square) != cv2.dilate(classes, square)
    band[:width], band[-width:], band[:, :width], band[:, -width:] = (True,) * 4
    return band


def boundary_counts(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, dilation: float = DILATION
) -> np.ndarray:
    """Counts an image's pixels in the bands along the boundaries of each class.

    Ignored pixels belong to no class: the truth has a boundary beside them, and they are not
    counted themselves.

    Args:
        label: ``(H, W)`` uint8 train ids below K, or 255.
        prediction: ``(H, W)`` uint8 train ids; those of K or more are none of the classes.
        num_classes: K.
        dilation: width of the bands, as a share of the diagonal; at least one pixel.

    Returns:
        ``(K, 3)`` int64 numbers of pixels of each class: in the bands of both truth and prediction,
        in that of truth, in that of the prediction. The sum over images is the count of a set.
    """
    width = max(round(dilation * hypot(*label.shape)), 1)
    counted = label != IGNORE
    true = boundary_band(label, width) & counted
    predicted = boundary_band(prediction, width) & counted
    both = true & predicted & (label == prediction)
    picked = (label[both], label[true], prediction[predicted & (prediction < num_classes)])
    return np.stack([np.bincount(each, minlength=num_classes) for each in picked], axis=-1)


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Computes the IoU of the bands of truth and prediction, for each class.

    Args:
        counts: ``(..., K, 3)`` from :func:`boundary_counts`.

    Returns:
        ``(..., K)`` float64 fractions, NaN for a class that is in neither band.
    """
    both, true, predicted = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore"):
        return both / (true + predicted - both)


def mean_boundary_iou(counts: np.ndarray, classes: list[int] | None = None) -> float | np.ndarray:
    """Averages :func:`boundary_iou` over the ``classes`` that have one.

    Args:
        counts: ``(..., K, 3)`` from :func:`boundary_counts`.
        classes: indices; all if None.

    Returns:
        A float, or ``(...)`` float64 of a stack; NaN if no class has one.
    """
    return mean_of_defined(boundary_iou(counts), classes)
