"""BDD100K's drivable area by the three ways of counting that its evaluation scripts have had.

All take the IoU of each class from one confusion matrix of all pixels. They differ in the classes
that are averaged, and in whether the pixels whose truth is background count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ibnseg.datasets.labels import DRIVABLE
from ibnseg.evaluation.confusion import iou

_DRIVABLE = ("direct", "alternative")


class Way(NamedTuple):
    """A way of counting the drivable area."""

    key: str
    """Its name in results, under ``drivable``."""
    title: str
    """What tables call it."""
    averaged: tuple[str, ...]
    """The classes whose IoU is averaged."""
    truth: tuple[str, ...]
    """The classes whose pixels count, by their truth; all others are ignored."""
    source: str

    @property
    def metric(self) -> str:
        """Its name in the table of metrics."""
        return f"drivable_{self.key}"


WAYS = (
    Way(
        "with_background",
        "direct, alternative and background",
        DRIVABLE.classes,
        DRIVABLE.classes,
        "bdd100k/bdd100k:bdd_data/evaluate.py at 7f7259a (2018-05-22) as it is written, and the "
        "toolkit of April 2021 (10767c6)",
    ),
    Way(
        "direct_alternative",
        "direct and alternative (headline)",
        _DRIVABLE,
        DRIVABLE.classes,
        "bdd100k/bdd100k:doc/source/evaluate.rst, the toolkit of 2021-06-30 (1869a2f), and "
        "AIChallenger/AI_Challenger_2018:Evaluation/autonomous_driving_perception2018_eval",
    ),
    Way(
        "background_dropped",
        "direct and alternative, true background ignored",
        _DRIVABLE,
        _DRIVABLE,
        "bdd100k/bdd100k:bdd100k/eval/seg.py since 7a86504 (2021-07-12), PyPI 1.0.1 included",
    ),
)
"""All ways. The second is the headline: BDD100K's documentation describes it, then and now, and it
counts background that is predicted to be drivable as wrong."""


def score(way: Way, confusion: np.ndarray) -> float | np.ndarray:
    """Computes the mean IoU of the drivable area by one of the ``WAYS``.

    As in the scripts, a class without a true pixel is left out of the mean, while
    :func:`~ibnseg.evaluation.confusion.mean_iou` counts it as 0 if it is predicted.

    Args:
        way: how to count.
        confusion: (..., 3, 3) counts, rows truth, of the classes of ``labels.DRIVABLE``: direct,
            alternative, background.

    Returns:
        A fraction, or (...) float64 of a stack; NaN if no averaged class is true.

    Raises:
        ValueError: for matrices of another number of classes.
    """
    classes = DRIVABLE.classes
    if confusion.shape[-2:] != (len(classes), len(classes)):
        raise ValueError(f"expected confusion (..., 3, 3), got {confusion.shape}")
    counted = confusion * np.isin(classes, way.truth)[:, None]
    kept = np.isin(classes, way.averaged) & (counted.sum(axis=-1) > 0)
    with np.errstate(invalid="ignore"):
        found = iou(counted).sum(axis=-1, where=kept) / kept.sum(axis=-1)
    return found if found.ndim else float(found)


def scores_by_way(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Computes the :func:`score` of a (3, 3) matrix by all of the ``WAYS``, as results record it.

    Returns:
        One entry, ``drivable``, with fractions by the key of the way.
    """
    return {"drivable": {way.key: score(way, confusion) for way in WAYS}}
