"""The images of tests: which they are, and how a test's score moves if others are drawn.

The counts of each image are let go as soon as this is computed, so that the images of many runs
need little memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool

import numpy as np

from ibnseg.evaluation.confusion import margins
from ibnseg.evaluation.metrics import CONFUSION, get_metric
from ibnseg.evaluation.other import domain_classes
from ibnseg.evaluation.per_image import PerImage
from ibnseg.report.records import TestRecord
from ibnseg.report.statistics import Spread, spread, sum_groups
from ibnseg.support.progress import bar

AT_ONCE = 8
"""The most tests whose images are read at a time."""


@dataclass(frozen=True)
class Images:
    """The names and groups of a test's images, as far as they are kept, and how its score moves."""

    sample: str
    """A hash of their names and true classes, the same for the same images and labels."""
    names: str
    """A hash of their names."""
    groups: np.ndarray | None
    """(N,) str, the group of each image; None if no test of the sample has recorded it."""
    by_image: Spread | None
    """How the test's score moves if images are drawn anew; None if it has no formula."""
    by_group: Spread | None
    """The same for groups of images; None also if there are no groups."""


def are_grouped(groups: np.ndarray | None) -> bool:
    """Whether groups, (N,) str, are known and larger than one image."""
    return groups is not None and len(np.unique(groups)) < len(groups)


def read_images(
    tests: Sequence[TestRecord], metric: str, hidden: bool = False
) -> list[Images | None]:
    """Reads the counts of each image of some tests, several at a time, and draws images anew.

    Tests of the same sample are drawn in the same groups: those that the last of them has recorded.

    Args:
        tests: the tests of several runs.
        metric: the name of the metric whose spread is computed.
        hidden: whether no progress bar is shown.

    Returns:
        For each test its images; None if the file with their counts is missing.

    Raises:
        UserError: if such a file is damaged.
    """
    found: list[Images | None] = []
    groups: dict[str, np.ndarray] = {}
    with ThreadPool(min(AT_ONCE, os.cpu_count() or 1)) as pool, bar(hidden) as progress:
        read = pool.imap(lambda test: _read(test, metric), tests)
        for own in progress.track(read, len(tests), description="Resampling images"):
            if own and own.groups is not None:
                known = groups.get(own.sample)
                if known is not None and np.array_equal(known, own.groups):
                    own = replace(own, groups=known)  # one array for all
                groups[own.sample] = own.groups
            found.append(own)
    for i, own in enumerate(found):
        if own and own.groups is not groups.get(own.sample):
            found[i] = _read(tests[i], metric, groups[own.sample])
    return found


def _read(test: TestRecord, metric: str, groups: np.ndarray | None = None) -> Images | None:
    """Reads the images of a test; by default in the groups that it has recorded."""
    images = test.read_images()
    if images is None:
        return None
    groups = images.groups if groups is None else groups
    names = "\0".join(images.names).encode()
    own = len(domain_classes(test.record))  # nothing is truly of another class than the domain's
    truth = images.confusion.sum(axis=2, dtype=np.int64)[:, :own]
    sample = _hash(names, truth.tobytes())
    move = _mover(test, images, metric, int(sample[:16], 16))
    return Images(
        sample,
        _hash(names),
        groups,
        by_image=move and move(None),
        by_group=move(groups) if move and are_grouped(groups) else None,
    )


def _mover(
    test: TestRecord, images: PerImage, name: str, seed: int
) -> Callable[[np.ndarray | None], Spread] | None:
    """A function that computes the spread of a metric over groups, or images if they are None;
    None if the metric has no formula or was not counted."""
    metric = get_metric(name, test.record["classes"])
    if metric is None or metric.score is None or metric.counts not in test.counts:
        return None
    is_confusion = metric.counts == CONFUSION
    counts = images.confusion if is_confusion else images.counts[metric.counts]
    score, averaged = metric.score, test.averaged()
    if is_confusion and metric.of_margins:
        counts, score = margins(counts), metric.of_margins

    def move(groups: np.ndarray | None) -> Spread:
        summed = counts if groups is None else sum_groups(counts, groups)
        return spread([summed], lambda sums: score(sums, averaged), seed=seed)

    return move


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
