"""Confusion matrices of label maps, counted in exact integers, and the scores of classes."""

from __future__ import annotations

import cv2
import numpy as np


def confusion_matrix(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        label: (H, W) uint8 train ids, below ``num_classes`` or ``ignore_index``.
        prediction: (H, W) uint8 train ids, below ``num_classes``.
        num_classes: K, at most 255.
        ignore_index: pixels of this label do not count.

    Returns:
        (K, K) int64; rows are truth, columns prediction. One pass of OpenCV over the joint
        histogram of the 256 x 256 values, which is exact because its float32 counts stay below
        2**24.

    Raises:
        ValueError: for shapes or dtypes that do not fit, and for values that are no class, naming
            them.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"prediction of shape {prediction.shape} for a label of {label.shape}")
    if label.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(f"expected uint8, got label {label.dtype}, prediction {prediction.dtype}")
    label, prediction = label.reshape(-1, 1), prediction.reshape(-1, 1)
    joint = np.zeros((256, 256), np.int64)
    for start in range(0, len(label), _EXACT):
        part = slice(start, start + _EXACT)
        counts = cv2.calcHist(
            [label[part], prediction[part]], [0, 1], None, [256, 256], [0, 256, 0, 256]
        )
        joint += counts.astype(np.int64)
    joint[ignore_index] = 0
    for axis, name in enumerate(("label", "prediction")):
        values = joint.sum(axis=1 - axis).nonzero()[0]
        if len(values) and values[-1] >= num_classes:
            wrong = ", ".join(str(v) for v in values if v >= num_classes)
            raise ValueError(f"{name} has values {wrong}, which are none of {num_classes} classes")
    return joint[:num_classes, :num_classes]


_EXACT = 1 << 24  # the largest count that float32 holds with all smaller ones


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class: TP / (TP + FP + FN).

    As cityscapesScripts' evalPixelLevelSemanticLabeling: pixels whose truth is ignored count
    nowhere; a class that is predicted and never true has 0; one that is neither is undefined.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        (..., K) float64, NaN where undefined.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-2) + confusion.sum(axis=-1) - hit
    with np.errstate(invalid="ignore"):
        return hit / union


def mean_iou(confusion: np.ndarray, classes: list[int] | None = None) -> float | np.ndarray:
    """Mean of :func:`iou` over ``classes`` (all if None) that are defined; NaN if none is.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices.

    Returns:
        A float, or (...) float64 of a stack.
    """
    return mean_of_defined(iou(confusion), classes)


def pixel_accuracy(confusion: np.ndarray) -> float | np.ndarray:
    """Share of the pixels that are not ignored whose class is right; NaN if there are none.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        A float, or (...) float64 of a stack.
    """
    with np.errstate(invalid="ignore"):
        return _plain(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def mean_class_accuracy(
    confusion: np.ndarray, classes: list[int] | None = None
) -> float | np.ndarray:
    """Mean share of each class's pixels that are right: TP / (TP + FN), over ``classes`` that are
    true somewhere.

    "Mean accuracy" of Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 5; mmseg's mAcc.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if none of the classes is true.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return mean_of_defined(hit / confusion.sum(axis=-1), classes)


def frequency_weighted_iou(
    confusion: np.ndarray, classes: list[int] | None = None
) -> float | np.ndarray:
    """Mean of :func:`iou` over ``classes``, each weighted by the number of its true pixels.

    "Frequency weighted IU" of Long et al., CVPR 2015, section 5.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if none of the classes is true.
    """
    picked = slice(None) if classes is None else classes
    true = confusion.sum(axis=-1)[..., picked]
    weighted = true * np.nan_to_num(iou(confusion)[..., picked])
    with np.errstate(invalid="ignore"):
        return _plain(weighted.sum(axis=-1) / true.sum(axis=-1))


def mean_f_score(confusion: np.ndarray, classes: list[int] | None = None) -> float | np.ndarray:
    """Mean F1 score, 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall, over
    ``classes`` that are defined.

    mmseg's mDice (van Rijsbergen, "Information Retrieval", 1979, chapter 7). As for the IoU, a
    class that is predicted and never true has 0; one that is neither is undefined.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if no class is defined.
    """
    twice = 2 * np.diagonal(confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        scores = twice / (confusion.sum(axis=-2) + confusion.sum(axis=-1))
    return mean_of_defined(scores, classes)


def mean_of_defined(values: np.ndarray, classes: list[int] | None = None) -> float | np.ndarray:
    """Mean over those of the last axis that are not NaN; NaN if none is.

    Args:
        values: (..., K) float64.
        classes: the only indices to average; all if None.

    Returns:
        A float, or (...) float64 of a stack.
    """
    values = values if classes is None else values[..., classes]
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return _plain(values.sum(axis=-1, where=defined) / defined.sum(axis=-1))


def _plain(values: np.ndarray) -> float | np.ndarray:
    return values if np.ndim(values) else float(values)
