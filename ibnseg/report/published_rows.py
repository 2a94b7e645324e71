"""Published numbers as rows beside measured ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ibnseg.report.published import Published


class PublishedRow(NamedTuple):
    """What one source has on one network."""

    method: str
    backbone: str
    train: tuple[str, ...]
    """Names of the domains that it was trained in."""
    protocol: str
    recipe: str
    source: str
    values: Mapping[str, str]
    """By test domain, in percent as printed."""


def select(
    published: Iterable[Published],
    metric: str,
    protocols: Collection[str] | None = None,
    tests: Collection[str] | None = None,
    trains: Collection[str] | None = None,
) -> list[Published]:
    """Those of a metric, and of some protocols, test and train domains; of all where it is None."""
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
