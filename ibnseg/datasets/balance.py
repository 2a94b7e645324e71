"""Class-balanced loss: weights that grow as a class's share of the labelled pixels falls."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.support.errors import UserError
from ibnseg.support.progress import bar

SAMPLE = 1000
"""How many labels are counted, at most."""

DIGITS = 4
"""Significant digits of the weights in a config."""


def class_weights(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Weights of classes, proportional to ``share ** -exponent``.

    They are scaled so that their mean over the counted pixels is 1. A class that was not counted
    has the largest of the others' weights: it may occur elsewhere, and then is rarer than they are.

    Args:
        counts: (K,) pixels of each class, 0 or more.
        exponent: in [0, 1]; 0 weights all alike, 0.5 by the inverse square root, 1 by the inverse.

    Returns:
        (K,) float64, above 0.

    Raises:
        ValueError: if all counts are 0.
    """
    counts = np.asarray(counts, np.float64)
    found = counts > 0
    if not found.any():
        raise ValueError("counts: expected one above 0")
    shares = counts[found] / counts.sum()
    weights = shares**-exponent
    weights /= shares @ weights
    result = np.full(counts.shape, weights.max())
    result[found] = weights
    return result


def class_counts(dataset: DrivingDataset, sample: int = SAMPLE) -> np.ndarray:
    """The labelled pixels of each class, in all labels or in a random sample that is always the
    same, read by as many threads as there are processors.

    Args:
        dataset: its labels are counted as stored, neither resized nor cropped.
        sample: the number of labels, at most.

    Returns:
        (K,) int64; pixels that are ignored count nowhere.

    Raises:
        UserError: for a label that cannot be read.
    """
    load = LoadLabel()
    classes = len(dataset.CLASS_SET.classes)
    order = np.random.RandomState(0).permutation(len(dataset))  # RandomState is frozen
    chosen = sorted(order[:sample].tolist())

    def of_image(i: int) -> np.ndarray:
        train_ids = load.train_ids(dataset.get_data_info(i))
        return np.bincount(train_ids.ravel(), minlength=256)[:classes]

    with ThreadPool() as pool, bar() as progress:
        parts = pool.imap_unordered(of_image, chosen, chunksize=8)
        return sum(progress.track(parts, len(chosen), description="Counting classes"))


def balanced_weights(dataset: DrivingDataset, exponent: float) -> list[float]:
    """:func:`class_weights` of a dataset's :func:`class_counts`, to ``DIGITS`` significant digits;
    one process counts for all.

    Raises:
        UserError: if no label has any class.
    """
    shared = [class_counts(dataset) if is_main_process() else None]
    broadcast_object_list(shared)
    (counts,) = shared
    if not counts.any():
        raise UserError(
            f"{dataset.data_root}: class_balance is {exponent}, and no label has any class; "
            "set it to 0, or check the labels"
        )
    return [float(f"{weight:.{DIGITS}g}") for weight in class_weights(counts, exponent)]
