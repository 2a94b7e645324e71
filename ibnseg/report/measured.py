"""Measures a network in a test domain: the scores of its seeds, and their spread over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple

import numpy as np

from ibnseg.evaluation.metrics import PERCENT, Metric, value_of
from ibnseg.report.images import Images
from ibnseg.report.matrix import Cell
from ibnseg.report.records import TestRecord
from ibnseg.report.statistics import Interval, Scores, Spread, combine, interval, together
from ibnseg.runs.run import RESULTS
from ibnseg.support.errors import UserError

CHANGED = 1e-9
"""The largest difference, relative or absolute, between two values from the same counts."""


class Measurement(NamedTuple):
    """Scores with their spreads over single images and over groups of images; the two are the same
    if there are no groups."""

    by_image: Scores
    by_group: Scores


def values_of(tests: Sequence[TestRecord], name: str, metric: Metric | None) -> np.ndarray:
    """Reads the value of a metric in each of some tests.

    Args:
        tests: S tests of one domain.
        name: the metric's.
        metric: checks the recorded values against the counts, if its score is known.

    Returns:
        (S,) float64, fractions or in the metric's unit, NaN if undefined.

    Raises:
        UserError: if a recorded value is not what the metric gives for the recorded counts.
    """
    found = [value_of(test.record, name) for test in tests]
    values = np.array([np.nan if x is None else x for x in found], float)
    for test, value in zip(tests, values, strict=True):
        if metric and metric.score and metric.counts in test.counts:
            own = float(metric.score(test.counts[metric.counts], test.averaged()))
            if not np.isclose(own, value, rtol=CHANGED, atol=CHANGED, equal_nan=True):
                raise UserError(
                    f"{test.folder / RESULTS}: {name} on {test.record['domain']} is "
                    f"recorded as {value:.6g}, and its counts give {own:.6g}: the metric or the "
                    "file has changed; test again"
                )
    return values


def resampled(images: Sequence[Images]) -> dict[str, tuple[Spread, Spread]]:
    """Measures how a metric moves when images, or groups of them, are drawn anew.

    Args:
        images: those of S tests of one network in one domain, each of another training.

    Returns:
        For each sample of images the spread over images and that over groups, of all S trainings;
        both are the same object if there are no groups. Trainings that were tested on another
        sample have zeros.
    """
    found = {}
    for sample in dict.fromkeys(each.sample for each in images):
        same = np.array([each.sample == sample for each in images])
        own = [each for each in images if each.sample == sample]
        by_image = by_group = _among(same, together([each.by_image for each in own]))
        if own[0].by_group is not None:
            by_group = _among(same, together([each.by_group for each in own]))
        found[sample] = by_image, by_group
    return found


def _among(same: np.ndarray, own: Spread) -> Spread:
    """The spread of some of S trainings, (S,) bool, as one of all S, with zeros for the others."""
    deviations = np.zeros((len(same), own.deviations.shape[1]))
    deviations[same] = own.deviations
    return Spread(deviations, own.units)


def are_single(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two networks have one training each, and the seed of one is not known, as of a
    network that was not trained here: they are compared by images alone."""
    return len(one) == len(other) == 1 and None in (*one, *other)


def of_one_seed(one: Measurement, other: Measurement) -> tuple[Measurement, Measurement]:
    """Returns two measurements; if :func:`are_single`, the second one with the seed of the
    first."""
    seeds = one.by_image.seeds
    if not are_single(seeds, other.by_image.seeds):
        return one, other
    by_image = replace(other.by_image, seeds=seeds)
    is_grouped = other.by_group is not other.by_image
    by_group = replace(other.by_group, seeds=seeds) if is_grouped else by_image
    return one, Measurement(by_image, by_group)


def combined(parts: Sequence[Measurement], weights: Sequence[float]) -> Measurement | None:
    """Computes a weighted sum of what was measured, over the seeds that all parts have.

    Returns:
        None if no seed is common.
    """
    by_image = combine([part.by_image for part in parts], weights)
    if by_image is None:
        return None
    grouped = any(part.by_group is not part.by_image for part in parts)
    by_group = combine([part.by_group for part in parts], weights) if grouped else by_image
    return Measurement(by_image, by_group)


def with_mean(
    measured: Sequence[Measurement | None], away: Sequence[int]
) -> list[Measurement | None]:
    """Appends the mean of some parts of a row to it; None if one of these is missing.

    Args:
        measured: the row.
        away: indices of those that are averaged.
    """
    parts = [measured[i] for i in away]
    whole = bool(parts) and None not in parts
    return [*measured, combined(parts, [1 / len(parts)] * len(parts)) if whole else None]


def bounds_of(unit: str, difference: bool = False) -> Interval:
    """Returns the lowest and highest values that are possible in a unit, or in a difference."""
    if unit != PERCENT:
        return Interval(-inf, inf)
    return Interval(-1.0 if difference else 0.0, 1.0)


def cell_of(
    measured: Measurement | None, bounds: Interval, drop: float | None = None
) -> Cell | None:
    """Makes a cell, with its intervals cut to the bounds; None if there is no value."""
    if measured is None or np.isnan(measured.by_image.mean):
        return None

    def cut(found: Interval | None) -> Interval | None:
        return found and Interval(*(float(np.clip(x, *bounds)) for x in found))

    scores, grouped = measured.by_image, measured.by_group is not measured.by_image
    by_group = cut(interval(measured.by_group)) if grouped else None
    by_image = cut(interval(scores))
    return Cell(scores.mean, scores.deviation, scores.seeds, by_image, by_group, grouped, drop)


def best_of(
    cells: Sequence[Cell | None],
    difference: Callable[[int, int], Cell | None],
    higher_is_better: bool = True,
) -> int | None:
    """Finds the row that is better than every other one, by intervals of paired differences.

    Args:
        cells: of the rows of a block, in one column; None for a row that was not tested there.
        difference: makes the cell of one row minus another, by their indices.
        higher_is_better: whether the better of two values is the higher one.

    Returns:
        The index of the row; None if there is no such row, or only one was tested there.
    """
    rows = [i for i, cell in enumerate(cells) if cell is not None]
    if len(rows) < 2:
        return None
    first = (max if higher_is_better else min)(rows, key=lambda i: cells[i].value)
    for other in rows:
        if other != first:
            paired = difference(*((first, other) if higher_is_better else (other, first)))
            if paired is None or paired.interval is None or paired.interval.low <= 0:
                return None
            if len(paired.seeds) == 1 < max(len(cells[i].seeds) for i in (first, other)):
                return None  # the values are means over seeds, the difference is that of one
    return first
