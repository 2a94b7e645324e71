"""Confusion matrices of label maps, counted in exact integers, and the scores of classes."""

from __future__ import annotations

import cv2
import numpy as np

from ibnseg.datasets.stretches import where_few

_EXACT = 1 << 24  # float32 holds every whole number up to this one


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
        (K, K) int64; rows are truth, columns prediction.

    Raises:
        ValueError: for shapes or dtypes that do not fit, and for values that are no class, naming
            them.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, its label {label.shape}")
    if label.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(f"expected uint8, got label {label.dtype}, prediction {prediction.dtype}")
    joint = _joint_histogram(label, prediction)
    joint[ignore_index] = 0
    for axis, name in enumerate(("label", "prediction")):
        values = joint.sum(axis=1 - axis).nonzero()[0]
        if len(values) and values[-1] >= num_classes:
            wrong = ", ".join(str(v) for v in values if v >= num_classes)
            raise ValueError(f"{name} has values {wrong}, which are none of {num_classes} classes")
    return joint[:num_classes, :num_classes]


def _joint_histogram(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Counts the pixels of each pair of values, (256, 256) int64.

    Pixels come in runs of the same pair, so runs are counted; of noise, every pixel by OpenCV,
    which counts in float32, exactly up to ``_EXACT``.
    """
    one, other = one.reshape(-1, 1), other.reshape(-1, 1)
    if not len(one):
        return np.zeros((256, 256), np.int64)
    pairs = cv2.merge([other, one]).view("<u2").ravel()
    changes = pairs[1:] != pairs[:-1]
    if np.count_nonzero(changes) < len(pairs) // 16:
        ends = np.append(where_few(changes), len(pairs) - 1)
        lengths = np.diff(ends, prepend=-1)
        counts = np.bincount(pairs[ends], weights=lengths, minlength=1 << 16)
        return counts.astype(np.int64).reshape(256, 256)
    joint = np.zeros((256, 256), np.int64)
    for start in range(0, len(one), _EXACT):
        part = slice(start, start + _EXACT)
        counts = cv2.calcHist([one[part], other[part]], [0, 1], None, [256, 256], [0, 256, 0, 256])
        joint += counts.astype(np.int64)
    return joint


def iou(confusion: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class: TP / (TP + FP + FN).

    The rules are those of cityscapesScripts' evalPixelLevelSemanticLabeling: pixels whose truth is
    ignored count nowhere; a class that is predicted and never true has 0; one that is neither is
    undefined.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        (..., K) float64, NaN where undefined.
    """
    return iou_of_margins(margins(confusion))


def margins(confusion: np.ndarray) -> np.ndarray:
    """Sums the pixels of each class that are right, that have it and that are predicted as it.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        (..., 3, K) counts: the diagonal, the sums of rows, and those of columns.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hit, confusion.sum(axis=-1), confusion.sum(axis=-2)], axis=-2)


def iou_of_margins(counts: np.ndarray) -> np.ndarray:
    """Computes :func:`iou` from :func:`margins`, or from sums of them."""
    hit, true, predicted = (counts[..., i, :] for i in range(3))
    with np.errstate(invalid="ignore"):
        return hit / (predicted + true - hit)


def mean_iou(confusion: np.ndarray, classes: list[int] | None = None) -> float | np.ndarray:
    """Averages :func:`iou` over the ``classes`` whose IoU is defined.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if no class is defined.
    """
    return mean_of_defined(iou(confusion), classes)


def pixel_accuracy(confusion: np.ndarray) -> float | np.ndarray:
    """Computes the share of pixels whose class is right, ignored ones left out.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        A float, or (...) float64 of a stack; NaN if there are no pixels.
    """
    with np.errstate(invalid="ignore"):
        return _plain(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def mean_class_accuracy(
    confusion: np.ndarray, classes: list[int] | None = None
) -> float | np.ndarray:
    """Averages TP / (TP + FN), the share of a class's pixels that are right, over ``classes``.

    Classes that are true nowhere are left out. This is the "mean accuracy" of Long, Shelhamer,
    Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5, and
    mmseg's mAcc.

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
    """Averages :func:`iou` over ``classes``, each weighted by the number of its true pixels.

    This is the "frequency weighted IU" of Long et al., CVPR 2015, section 5.

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
    """Averages the F1 score, 2 TP / (2 TP + FP + FN), over the ``classes`` that have one.

    F1 is the harmonic mean of precision and recall (van Rijsbergen, "Information Retrieval", 1979,
    chapter 7); its mean is mmseg's mDice. As for the IoU, a class that is predicted and never true
    has 0; one that is neither is undefined.

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
    """Averages the values on the last axis that are not NaN.

    Args:
        values: (..., K) float64.
        classes: the only indices to average; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if all are NaN.
    """
    values = values if classes is None else values[..., classes]
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return _plain(values.sum(axis=-1, where=defined) / defined.sum(axis=-1))


def _plain(values: np.ndarray) -> float | np.ndarray:
    return values if np.ndim(values) else float(values)
