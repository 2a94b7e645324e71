"""Confusion matrices of label maps, counted in exact integers, and the scores of classes.

Label maps are arrays of NumPy or tensors of torch, on any device. This module needs no more than
NumPy and OpenCV: torch is used if a tensor comes, and mmengine never.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from ibnseg.datasets.stretches import where_few

if TYPE_CHECKING:
    from torch import Tensor

    Counts = np.ndarray | Tensor
    Map = TypeVar("Map", np.ndarray, Tensor)

_EXACT = 1 << 24  # float32 holds every whole number up to this one
_NAMED = 8  # the most wrong values that a message lists


def confusion_matrix(label: Map, prediction: Map, num_classes: int, ignore_index: int = 255) -> Map:
    """Counts pixels by true and predicted class.

    Both maps are arrays of NumPy, or both are tensors of torch on one device, where they are
    counted. What is predicted under an ignored label is not looked at. Everywhere else it has to be
    a class, so 255 is refused there: a network that leaves out what it is unsure of would gain by
    it. To count such pixels, make them a class of their own, K, of ``num_classes`` K + 1: then each
    is a miss of its true class.

    Args:
        label: (H, W), or any other shape such as (N, H, W), whole numbers of any type: train ids
            below ``num_classes``, or ``ignore_index``.
        prediction: whole numbers of the same shape, train ids below ``num_classes``.
        num_classes: K.
        ignore_index: pixels of this label do not count.

    Returns:
        (K, K) int64, of the kind of the maps and on their device; rows are truth, columns
        prediction. The sum over images is the matrix of a set.

    Raises:
        ValueError: for kinds, devices, shapes or types that do not fit, and for values that are no
            class, naming them.
    """
    home = _home_of(label, prediction)
    _require_whole_numbers(label, prediction)
    if home is np and label.dtype == prediction.dtype == np.uint8 and num_classes <= 256:
        joint = _joint_histogram(label, prediction)
        if 0 <= ignore_index < 256:
            joint[ignore_index] = 0
        counts = joint[:num_classes, :num_classes]
        wrong = joint.sum() - counts.sum()
    else:
        label, prediction = (home.asarray(x, dtype=home.int64) for x in (label, prediction))
        counts, wrong = _joint_bincount(home, label, prediction, num_classes, ignore_index)
    if wrong:
        counted = label != ignore_index
        for name, values in (("label", label[counted]), ("prediction", prediction[counted])):
            found = home.unique(values[(values < 0) | (values >= num_classes)]).tolist()
            if found:
                listed = ", ".join(map(str, found[:_NAMED])) + ", ..." * (len(found) > _NAMED)
                raise ValueError(
                    f"{name} has values {listed}, which are none of {num_classes} classes"
                )
    return counts


def _home_of(label: Map, prediction: Map) -> ModuleType:
    """The library whose arrays both maps are: NumPy or torch."""
    if isinstance(label, np.ndarray) and isinstance(prediction, np.ndarray):
        return np
    if not (_is_tensor(label) and _is_tensor(prediction)):
        kinds = (type(each).__name__ for each in (label, prediction))
        raise ValueError(
            "label is of type {}, prediction of type {}; expected two arrays of NumPy, or two "
            "tensors of torch".format(*kinds)
        )
    if label.device != prediction.device:
        raise ValueError(
            f"label is on {label.device}, prediction on {prediction.device}; move one of them"
        )
    return sys.modules["torch"]


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    return torch is not None and isinstance(value, torch.Tensor)


def _require_whole_numbers(label: Map, prediction: Map) -> None:
    if label.shape != prediction.shape:
        shapes = map(tuple, (prediction.shape, label.shape))
        raise ValueError("prediction has shape {}, its label {}".format(*shapes))
    names = [str(each.dtype).removeprefix("torch.") for each in (label, prediction)]
    if not all(name.strip("<>")[0] in "iu" for name in names):
        raise ValueError("expected whole numbers, got label {}, prediction {}".format(*names))


def _joint_bincount(
    home: ModuleType, label: Map, prediction: Map, num_classes: int, ignore_index: int
) -> tuple[Map, Map]:
    """Counts the pixels of each pair of classes, (K, K), and those whose label or prediction is no
    class; the maps are int64."""
    pairs = num_classes * num_classes
    known = (label >= 0) & (label < num_classes) & (prediction >= 0) & (prediction < num_classes)
    places = home.where(known, label * num_classes + prediction, pairs)
    places = home.where(label == ignore_index, pairs + 1, places)
    counts = home.bincount(places.reshape(-1), minlength=pairs + 2)
    return counts[:pairs].reshape(num_classes, num_classes), counts[pairs]


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


def iou(confusion: Counts) -> np.ndarray:
    """Computes the intersection over union of each class: TP / (TP + FP + FN).

    The rules are those of cityscapesScripts' evalPixelLevelSemanticLabeling: pixels whose truth is
    ignored count nowhere; a class that is predicted and never true has 0; one that is neither is
    undefined.

    Args:
        confusion: (..., K, K) counts, rows truth; arrays, tensors or lists, here and below.

    Returns:
        (..., K) float64, NaN where undefined; of NumPy, as counts are small.
    """
    return iou_of_margins(margins(confusion))


def margins(confusion: Counts) -> np.ndarray:
    """Sums the pixels of each class that are right, that have it and that are predicted as it.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        (..., 3, K) counts: the diagonal, the sums of rows, and those of columns.
    """
    confusion = _on_host(confusion)
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hit, confusion.sum(axis=-1), confusion.sum(axis=-2)], axis=-2)


def iou_of_margins(counts: np.ndarray) -> np.ndarray:
    """Computes :func:`iou` from :func:`margins`, or from sums of them."""
    hit, true, predicted = (counts[..., i, :] for i in range(3))
    with np.errstate(invalid="ignore"):
        return hit / (predicted + true - hit)


def mean_iou(confusion: Counts, classes: list[int] | None = None) -> float | np.ndarray:
    """Averages :func:`iou` over the ``classes`` whose IoU is defined.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if no class is defined.
    """
    return mean_of_defined(iou(confusion), classes)


def pixel_accuracy(confusion: Counts) -> float | np.ndarray:
    """Computes the share of pixels whose class is right, ignored ones left out.

    Args:
        confusion: (..., K, K) counts, rows truth.

    Returns:
        A float, or (...) float64 of a stack; NaN if there are no pixels.
    """
    confusion = _on_host(confusion)
    with np.errstate(invalid="ignore"):
        return _plain(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def mean_class_accuracy(confusion: Counts, classes: list[int] | None = None) -> float | np.ndarray:
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
    confusion = _on_host(confusion)
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return mean_of_defined(hit / confusion.sum(axis=-1), classes)


def frequency_weighted_iou(
    confusion: Counts, classes: list[int] | None = None
) -> float | np.ndarray:
    """Averages :func:`iou` over ``classes``, each weighted by the number of its true pixels.

    This is the "frequency weighted IU" of Long et al., CVPR 2015, section 5.

    Args:
        confusion: (..., K, K) counts, rows truth.
        classes: indices; all if None.

    Returns:
        A float, or (...) float64 of a stack; NaN if none of the classes is true.
    """
    confusion, picked = _on_host(confusion), slice(None) if classes is None else classes
    true = confusion.sum(axis=-1)[..., picked]
    weighted = true * np.nan_to_num(iou(confusion)[..., picked])
    with np.errstate(invalid="ignore"):
        return _plain(weighted.sum(axis=-1) / true.sum(axis=-1))


def mean_f_score(confusion: Counts, classes: list[int] | None = None) -> float | np.ndarray:
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
    confusion = _on_host(confusion)
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


def _on_host(counts: Counts) -> np.ndarray:
    """Counts as an array of NumPy; those of torch are copied if they are on another device."""
    return counts.cpu().numpy() if _is_tensor(counts) else np.asarray(counts)
