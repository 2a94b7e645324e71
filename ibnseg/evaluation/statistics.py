"""What a handful of runs allows to be said."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t as student


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The mean of some values, and half the width of its confidence interval by Student's t.

    Of differences between two networks that share seeds and images, it is the interval of their
    paired difference.

    Args:
        values: at least two.
        confidence: the interval's, in (0, 1).

    Raises:
        ValueError: for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two values, found {n}")
    quantile = float(student.ppf((1 + confidence) / 2, n - 1))
    return fmean(values), quantile * stdev(values) / sqrt(n)
