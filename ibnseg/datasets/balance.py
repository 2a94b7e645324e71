"""Weights for a class-balanced loss, which grow as a class's share of the labelled pixels falls."""

from __future__ import annotations

import numpy as np

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.every_label import of_every_label
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.datasets.stretches import Stretches
from ibnseg.support.errors import UserError

SAMPLE = 1000
"""The most labels that are counted."""

DIGITS = 4
"""The number of significant digits that the weights in a config have."""


def class_weights(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Computes weights of the classes, proportional to ``share ** -exponent``.

    They are scaled so that their mean over the counted pixels is 1. A class without counted pixels
    gets the largest weight of the others, because it is rarer than they are if it occurs elsewhere.

    Args:
        counts: (K,), the number of pixels of each class, 0 or more.
        exponent: in [0, 1]; 0 gives all classes the same weight, 0.5 the inverse square root of
            their shares, 1 the inverse.

    Returns:
        (K,) float64, above 0.

    Raises:
        ValueError: if all counts are 0.
    """
    counts = np.asarray(counts, np.float64)
    found = counts > 0
    if not found.any():
        raise ValueError("counts: expected at least one above 0")
    shares = counts[found] / counts.sum()
    weights = shares**-exponent
    weights /= shares @ weights
    result = np.full(counts.shape, weights.max())
    result[found] = weights
    return result


def class_counts(dataset: DrivingDataset, sample: int = SAMPLE, workers: int = 0) -> np.ndarray:
    """Counts the labelled pixels of each class, with all processes of the command.

    Args:
        dataset: its labels are counted as stored, neither resized nor cropped.
        sample: the most labels that are counted; if there are more, a random sample is counted,
            which is always the same.
        workers: the loader processes of each process.

    Returns:
        (K,) int64, a count for each train id; ignored pixels are not counted.

    Raises:
        UserError: if a label cannot be read.
    """
    order = np.random.RandomState(0).permutation(len(dataset))  # never changes
    chosen = sorted(order[:sample].tolist())
    counts = of_every_label(
        dataset, Stretches.counts, "Counting classes", indices=chosen, workers=workers
    )
    return sum(counts)[: len(dataset.CLASS_SET.classes)]


def balanced_weights(dataset: DrivingDataset, exponent: float, workers: int = 0) -> list[float]:
    """Computes the :func:`class_weights` of a dataset, rounded to ``DIGITS`` significant digits.

    Args:
        dataset: the training data; sizes of its images and labels are compared first.
        exponent: of :func:`class_weights`.
        workers: the loader processes with which the classes are counted.

    Returns:
        K weights above 0, by train id.

    Raises:
        UserError: if no label has a pixel of any class, or one has another size than its image.
    """
    require_equal_sizes(dataset)
    counts = class_counts(dataset, workers=workers)
    if not counts.any():
        raise UserError(
            f"{dataset.data_root}: class_balance is {exponent}, but no label has a pixel of any "
            "class; check the labels, or set class_balance to 0"
        )
    return [float(f"{weight:.{DIGITS}g}") for weight in class_weights(counts, exponent)]
