"""The further scores of the Cityscapes benchmark: the IoU of categories, and iIoU.

iIoU is IoU with every instance given the same weight, the average size of its class, however many
pixels it has: what a network misses of a distant car counts as much as what it misses of a near
one. Both are computed as in cityscapesScripts 2.3,
``evaluation/evalPixelLevelSemanticLabeling.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from ibnseg.datasets.labels import (
    CATEGORIES,
    CITYSCAPES_IDS,
    CLASSES,
    IGNORE,
    INSTANCE_CLASSES,
)
from ibnseg.evaluation.confusion import iou

AVERAGE_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Pixels of the average instance of each class that has any (``args.avgClassSize``)."""

INSTANCE_CATEGORIES = tuple(
    category for category, names in CATEGORIES.items() if set(names) <= set(INSTANCE_CLASSES)
)
"""The categories all of whose classes have instances."""

_SIZES = np.array([AVERAGE_SIZES.get(name, np.nan) for name in CLASSES])
_MEMBERS = np.array([[name in names for name in CLASSES] for names in CATEGORIES.values()], int)


def by_category(matrix: np.ndarray) -> np.ndarray:
    """Sums a (19, 19) matrix of classes to the (7, 7) one of ``CATEGORIES``, of the same dtype.

    :func:`~ibnseg.evaluation.confusion.iou` of it is the IoU of categories, in which a car taken
    for a truck is right.
    """
    return (_MEMBERS @ matrix @ _MEMBERS.T).astype(matrix.dtype, copy=False)


def weighted_confusion(instances: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Counts the pixels of an image's instances, all instances of a class weighing the same.

    A pixel counts in the row of its instance's class and the column of the predicted one, with the
    weight (average size of the class) / (size of the instance). The pixels of one image that share
    an id above 1000 are an instance; its class is the id's thousands, whatever the label says.
    Ids up to 1000 are no instances: they are classes that have none, and groups that annotators
    could not take apart. Instances of ignored classes (caravan, trailer) do not count.

    Args:
        instances: (H, W) uint16, as ``*_instanceIds.png``.
        prediction: (H, W) uint8 train ids.

    Returns:
        (19, 19) float64 pixels; rows are truth, columns prediction, and a row's sum is the number
        of the class's instances times their average size. The sum over images is that of a set.

    Raises:
        ValueError: for shapes or dtypes that do not fit, for instances of a class that has none,
            and for predicted values that are no class.
    """
    if instances.shape != prediction.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape}, its instances {instances.shape}"
        )
    if instances.dtype != np.uint16 or prediction.dtype != np.uint8:
        raise ValueError(
            f"expected instances uint16 and prediction uint8, got {instances.dtype} and "
            f"{prediction.dtype}"
        )
    among = np.flatnonzero(instances > 1000)
    pixels, predicted = instances.ravel()[among], prediction.ravel()[among]
    ids = np.bincount(pixels).nonzero()[0]
    start = np.zeros(1 << 16, np.intp)
    start[ids] = 256 * np.arange(len(ids))
    joint = np.bincount(start[pixels] + predicted, minlength=256 * len(ids))
    joint = joint.reshape(len(ids), 256)

    train_ids = np.array([CITYSCAPES_IDS.get(id_, -1) for id_ in (ids // 1000).tolist()], int)
    counted = train_ids != IGNORE
    ids, train_ids, joint = ids[counted], train_ids[counted], joint[counted]
    wrong = (train_ids < 0) | np.isnan(_SIZES[train_ids])
    if wrong.any():
        raise ValueError(f"instances {_list(ids[wrong])} are of no class that has instances")
    wrong = joint[:, len(CLASSES) :].any(axis=0).nonzero()[0] + len(CLASSES)
    if len(wrong):
        raise ValueError(
            f"prediction has values {_list(wrong)}, which are none of {len(CLASSES)} classes"
        )
    weights = _SIZES[train_ids] / joint.sum(axis=1)
    weighted = np.zeros((len(CLASSES), len(CLASSES)))
    np.add.at(weighted, train_ids, weights[:, None] * joint[:, : len(CLASSES)])
    return weighted


def instance_iou(confusion: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Computes the iIoU of each class: iTP / (iTP + FP + iFN), Cordts et al., CVPR 2016, section 4.

    iTP and iFN count the weighted pixels of instances. FP counts pixels without weights: those of
    other classes that are predicted as this one. Ignored pixels are not among them, nor are groups
    of the class itself. Without any of the three, the iIoU is undefined; with FP alone it is 0.

    Args:
        confusion: (K, K) integer, rows truth; of classes, or of categories by :func:`by_category`.
        weighted: (K, K) float64 from :func:`weighted_confusion`, of the same.

    Returns:
        (K,) float64 fractions, NaN if undefined. They have a meaning only for
        ``INSTANCE_CLASSES``, or ``INSTANCE_CATEGORIES``.
    """
    false_positive = confusion.sum(axis=0) - confusion.diagonal()
    with np.errstate(invalid="ignore"):
        return weighted.diagonal() / (weighted.sum(axis=1) + false_positive)


def further_scores(
    confusion: np.ndarray, weighted: np.ndarray | None = None
) -> dict[str, float | dict[str, float]]:
    """Computes all of the benchmark's scores besides the IoU of classes.

    Args:
        confusion: (19, 19) integer, rows truth.
        weighted: (19, 19) float64, the sum of :func:`weighted_confusion`; None if instances are
            not known.

    Returns:
        ``category_iou``, by category, and its mean ``category_mIoU``; with instances also ``iIoU``
        by class, ``category_iIoU`` by category, and their means ``mean_iIoU`` and
        ``category_mean_iIoU``. Fractions, NaN if undefined; the means leave out what is undefined.
    """
    categories = by_category(confusion)
    of_category = _named(CATEGORIES, iou(categories))
    scores = dict(category_iou=of_category, category_mIoU=_mean(of_category))
    if weighted is None:
        return scores
    of_class = _named(CLASSES, instance_iou(confusion, weighted), INSTANCE_CLASSES)
    weighted_categories = instance_iou(categories, by_category(weighted))
    of_category = _named(CATEGORIES, weighted_categories, INSTANCE_CATEGORIES)
    return scores | dict(
        iIoU=of_class,
        mean_iIoU=_mean(of_class),
        category_iIoU=of_category,
        category_mean_iIoU=_mean(of_category),
    )


def _named(
    names: Iterable[str], values: np.ndarray, kept: Collection[str] | None = None
) -> dict[str, float]:
    """The values by name, of all names or of those that are kept."""
    named = dict(zip(names, values.tolist(), strict=True))
    return named if kept is None else {name: named[name] for name in kept}


def _mean(scores: dict[str, float]) -> float:
    defined = [x for x in scores.values() if not np.isnan(x)]
    return float(np.mean(defined)) if defined else float("nan")


def _list(values: np.ndarray) -> str:
    return ", ".join(map(str, values))
