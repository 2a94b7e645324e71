"""Numbers that papers and repositories have published, and rows of them beside measured ones."""

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
    """By test domain, in percent as printed."""


def read_published() -> tuple[Published, ...]:
    """All published numbers, in the order of the file."""
    path = files("ibnseg.report") / "published.csv"
    with path.open(encoding="utf-8", newline="") as file:
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
    """The numbers of a metric, and of some protocols, test and train domains; of all that are
    None."""
    return [
        number
        for number in published
        if number.metric == metric
        and (protocols is None or number.protocol in protocols)
        and (tests is None or number.test in tests)
        and (trains is None or set(number.train) <= set(trains))
    ]


def as_rows(published: Iterable[Published]) -> list[PublishedRow]:
    """One row for the numbers that share all but test domain and value, in order of the first; a
    second number of the same test begins another."""
    rows: dict[tuple, list[dict[str, str]]] = {}
    for number in published:
        key = (*number[:3], number.protocol, number.recipe, number.source)
        same = rows.setdefault(key, [])
        if not same or number.test in same[-1]:
            same.append({})
        same[-1][number.test] = number.value
    return [PublishedRow(*key, values) for key, same in rows.items() for values in same]
