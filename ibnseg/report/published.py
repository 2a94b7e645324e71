"""Numbers that papers and repositories have published, as rows to show beside measured ones."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """One published number, a row of ``published.csv``; what a source does not say is
    ``'unknown'``."""

    method: str
    """What its source calls it, with whose baseline or re-run it is."""

    backbone: str

    train: tuple[str, ...]
    """Names of the domains whose labels it was trained on."""

    test: str
    """Name of the domain that it was tested on."""

    metric: str
    """``'mIoU'`` or ``'pixel_accuracy'``."""

    value: str
    """Percent, 0 to 100, with the decimals of the source."""

    protocol: str
    """Name of the test protocol that its images were shown under."""

    recipe: str
    """How it was trained: crop in pixels, iterations, total batch, learning rate."""

    source: str
    """What the number was read in."""


class PublishedRow(NamedTuple):
    """The numbers that one source has on one network."""

    method: str
    backbone: str
    train: tuple[str, ...]
    """Names of the domains that it was trained in."""
    protocol: str
    recipe: str
    source: str
    values: Mapping[str, str]
    """The scores by test domain, in percent as printed."""


def read_published() -> tuple[Published, ...]:
    """Reads all published numbers, in the order of the file."""
    path = files("ibnseg.report") / "published.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        return tuple(
            Published(**{**row, "train": tuple(row["train"].split("+"))})
            for row in csv.DictReader(file)
        )


def select(
    published: Iterable[Published],
    metric: str,
    protocols: Collection[str] | None = None,
    tests: Collection[str] | None = None,
    trains: Collection[str] | None = None,
) -> list[Published]:
    """Selects the numbers of a metric, by protocol, test domain and train domains.

    Args:
        published: the numbers to choose from.
        metric: name of the metric.
        protocols, tests, trains: the only names to keep; all if None. A number that was trained in
            several domains is kept if all of them are among ``trains``.
    """
    return [
        number
        for number in published
        if number.metric == metric
        and (protocols is None or number.protocol in protocols)
        and (tests is None or number.test in tests)
        and (trains is None or set(number.train) <= set(trains))
    ]


def as_rows(published: Iterable[Published]) -> list[PublishedRow]:
    """Makes one row of the numbers that differ in test domain and value alone.

    Rows are in the order of their first numbers; a second number of the same test domain begins
    another row.
    """
    rows: dict[tuple, list[dict[str, str]]] = {}
    for number in published:
        key = (*number[:3], number.protocol, number.recipe, number.source)
        same = rows.setdefault(key, [])
        if not same or number.test in same[-1]:
            same.append({})
        same[-1][number.test] = number.value
    return [PublishedRow(*key, values) for key, same in rows.items() for values in same]
