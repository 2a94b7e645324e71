"""The matrix of runs: train domains and networks by test domains, with what each number is worth.

Data alone; ``ibnseg.report`` shows it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from ibnseg.evaluation.results import PerImage
from ibnseg.report.gaps import at_home, drop
from ibnseg.report.records import Test, column_of, protocol_of, row_of
from ibnseg.report.statistics import (
    Interval,
    Score,
    Scores,
    Spread,
    combine,
    interval,
    spread,
    sum_groups,
)
from ibnseg.support.progress import bar


@dataclass(frozen=True)
class Cell:
    """A number of the matrix, as fractions."""

    value: float
    """The mean over the seeds."""
    deviation: float | None
    """Standard deviation over the seeds; None for one."""
    seeds: tuple[int | None, ...]
    by_image: Interval | None
    """95 % interval with the images resampled; None where they are not known."""
    by_group: Interval | None
    """The same with groups of images (a city, a sequence) resampled; None where there are not two
    in which the score is defined. Of a mean over domains: by group in those that have groups, by
    image in the others."""
    grouped: bool
    """Whether images are known to be of two or more groups: they are alike within one, and
    ``by_image`` is too narrow."""
    drop: float | None = None
    """The value at home minus this one; None at home, in a mean and in a difference, and where not
    one split of the training domain, but none or several, were tested."""
    best: bool = False
    """Whether the interval of its paired difference to every other row of the block that has this
    cell is above 0."""

    @property
    def interval(self) -> Interval | None:
        """The one to rely on; None if there is none."""
        return self.by_group if self.grouped else self.by_image


@dataclass(frozen=True)
class Column:
    """A test domain."""

    domain: str
    split: str
    images: tuple[int, ...]
    """The numbers of images that were tested, one unless runs differ."""
    groups: int | None
    """Number of groups of images; None where not known, or where each image is one."""


@dataclass(frozen=True)
class Row:
    """A network, trained with one or more seeds; or the difference of two."""

    config: str
    model: str
    title: str
    seeds: tuple[int | None, ...]
    cells: tuple[Cell | None, ...]
    """One a column."""
    unseen: Cell | None
    """The mean over all columns of the block but the training domain's."""


@dataclass(frozen=True)
class Block:
    """The networks that were trained in one domain."""

    train: str
    rows: tuple[Row, ...]
    differences: tuple[Row, ...]
    """Each row but the first minus the first, on the same images and seeds."""


class Remark(NamedTuple):
    """Something to know of the numbers."""

    text: str
    domains: tuple[str, ...]
    """Whose columns it is of; empty if it is of none in particular."""


@dataclass(frozen=True)
class Matrix:
    """All results under one protocol."""

    protocol: dict
    metric: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    remarks: tuple[Remark, ...]
    """What could not be computed, and why."""


def build(
    tests: Sequence[Test], metric: str = "mIoU", domains: Sequence[str] | None = None
) -> list[Matrix]:
    """The matrices of some tests, one a protocol: its name, version and way of inference.

    Runs of one config, network and train domain are one row, their seeds a sample of trainings; the
    first row of a train domain is what the others of its block are compared with.

    Args:
        tests: from ``ibnseg.report.records.read_runs``.
        metric: one of ``ibnseg.report.records.METRICS``, or a class, whose IoU it is.
        domains: the only test domains to show; all if None.

    Raises:
        UserError: for matrices of images that are damaged.
    """
    by_protocol: dict[tuple, list[Test]] = {}
    for test in tests:
        by_protocol.setdefault(protocol_of(test), []).append(test)
    built = (_Builder(metric, found, domains).matrix() for found in by_protocol.values())
    return [matrix for matrix in built if matrix.columns]


class _Measured(NamedTuple):
    """Scores, with the images and with groups of them resampled; the same ones where there are no
    groups."""

    by_image: Scores
    by_group: Scores


def _combined(parts: Sequence[_Measured], weights: Sequence[float]) -> _Measured | None:
    by_image = combine([part.by_image for part in parts], weights)
    if by_image is None:
        return None
    grouped = any(part.by_group is not part.by_image for part in parts)
    by_group = combine([part.by_group for part in parts], weights) if grouped else by_image
    return _Measured(by_image, by_group)


def _cell(measured: _Measured | None, drop: float | None = None, least: float = 0.0) -> Cell | None:
    """A cell of scores from ``least`` to 1, to which its intervals are cut."""
    if measured is None or np.isnan(measured.by_image.mean):
        return None

    def cut(found: Interval | None) -> Interval | None:
        return found and Interval(*(float(np.clip(x, least, 1)) for x in found))

    scores, grouped = measured.by_image, measured.by_group is not measured.by_image
    by_group = cut(interval(measured.by_group)) if grouped else None
    by_image = cut(interval(scores))
    return Cell(scores.mean, scores.deviation, scores.seeds, by_image, by_group, grouped, drop)


class _Builder:
    """What the cells of one matrix share: its tests, the groups of images, the remarks."""

    def __init__(self, metric: str, tests: Sequence[Test], domains: Sequence[str] | None) -> None:
        self.metric = metric
        self.protocol = tests[0].record["protocol"]
        self.remarks: dict[str, dict[str, None]] = {}
        self.tests: dict[tuple, dict[tuple, list[Test]]] = {}  # by row, then column
        for test in tests:
            self.tests.setdefault(row_of(test), {}).setdefault(column_of(test), []).append(test)
        found = dict.fromkeys(column for row in self.tests.values() for column in row)
        columns = [column for column in found if domains is None or column[0] in domains]
        self.rows = [row for row, cells in self.tests.items() if cells.keys() & set(columns)]
        trains = list(dict.fromkeys(train for train, _, _ in self.rows))
        self.columns = sorted(
            columns,
            key=lambda column: trains.index(column[0]) if column[0] in trains else len(trains),
        )
        self.groups = {
            test.sample: test.images.groups
            for test in tests
            if column_of(test) in columns and test.images and test.images.groups is not None
        }
        self.titles = self._titles()
        places = [(row, column) for row in self.rows for column in self.columns]
        with bar(hidden=not sys.stdout.isatty()) as progress:  # in a file there is but the matrix
            self.measured = {
                place: self._measure(*place)
                for place in progress.track(places, description="Resampling images")
            }

    def matrix(self) -> Matrix:
        blocks = [
            self._block(train, [row for row in self.rows if row[0] == train])
            for train in dict.fromkeys(train for train, _, _ in self.rows)
        ]
        columns = tuple(self._column(*column) for column in self.columns)
        remarks = tuple(Remark(text, tuple(domains)) for text, domains in self.remarks.items())
        return Matrix(self.protocol, self.metric, columns, tuple(blocks), remarks)

    def _titles(self) -> dict[tuple, str]:
        """What rows are called: with their config's name where two in a block are called alike."""
        plain = {row: self._any(row).run["title"] for row in self.rows}
        called = Counter((row[0], title) for row, title in plain.items())
        return {
            row: title if called[row[0], title] == 1 else f"{title} ({row[1]})"
            for row, title in plain.items()
        }

    def _any(self, row: tuple) -> Test:
        return next(iter(self.tests[row].values()))[0]

    def _column(self, domain: str, split: str) -> Column:
        tests = [test for row in self.rows for test in self.tests[row].get((domain, split), ())]
        groups = {self._number_of_groups(test.sample) for test in tests} - {None}
        images = tuple(sorted({test.record["images"] for test in tests}))
        return Column(domain, split, images, max(groups, default=None))

    def _number_of_groups(self, sample: str | None) -> int | None:
        """None where groups are not known, or each image is one."""
        groups = self.groups.get(sample)
        number = None if groups is None else len(np.unique(groups))
        return number if number is not None and number < len(groups) else None

    def _block(self, train: str, rows: Sequence[tuple]) -> Block:
        tested = {column for row in rows for column in self.tests[row]}
        away = [i for i, c in enumerate(self.columns) if c in tested and c[0] != train]
        measured = [
            _with_mean([self.measured[row, column] for column in self.columns], away)
            for row in rows
        ]

        @cache
        def difference(one: int, other: int) -> list[_Measured | None]:
            reasons = [self._why_unpaired(rows[one], rows[other], c) for c in self.columns]
            paired = zip(reasons, measured[one], measured[other], strict=False)
            parts = [None if why else _combined((a, b), (1, -1)) for why, a, b in paired]
            return _with_mean(parts, away)

        cells = [
            [_cell(m, lost) for m, lost in zip(line, [*self._drops(row), None], strict=True)]
            for row, line in zip(rows, measured, strict=True)
        ]
        for place in range(len(self.columns) + 1):
            best = _best([_cell(line[place]) for line in measured], place, difference)
            if best is not None:
                cells[best][place] = replace(cells[best][place], best=True)
        shown = [self._row(row, line) for row, line in zip(rows, cells, strict=True)]
        differences = []
        for i, row in enumerate(rows[1:], start=1):
            title = f"{self.titles[row]} minus {self.titles[rows[0]]}"
            for column in self.columns:
                why = self._why_unpaired(row, rows[0], column)
                if why and column in self.tests[row] and column in self.tests[rows[0]]:
                    self._remark(f"{title}: not paired, {why}", column)
            found = self._row(row, [_cell(m, least=-1.0) for m in difference(i, 0)])
            common = tuple(seed for seed in found.seeds if seed in shown[0].seeds)
            differences.append(replace(found, seeds=common))
        return Block(train, tuple(shown), tuple(differences))

    def _row(self, row: tuple, cells: Sequence[Cell | None]) -> Row:
        at = {test.run["seed"]: test.run["iteration"] for test in self._all(row)}
        if len(set(at.values())) > 1:
            steps = ", ".join(f"{iteration} of seed {seed}" for seed, iteration in at.items())
            self._remark(f"{self.titles[row]}: tested after different numbers of steps, {steps}")
        return Row(row[1], row[2], self.titles[row], tuple(at), tuple(cells[:-1]), cells[-1])

    def _all(self, row: tuple) -> list[Test]:
        return [test for tests in self.tests[row].values() for test in tests]

    def _remark(self, text: str, column: tuple | None = None) -> None:
        self.remarks.setdefault(text, {}).update({column[0]: None} if column else {})

    def _measure(self, row: tuple, column: tuple) -> _Measured | None:
        tests = self.tests[row].get(column)
        if not tests:
            return None
        averaged = tests[0].record["eval_classes"]
        score = partial(tests[0].score, self.metric, averaged)
        seeds = tuple(test.run["seed"] for test in tests)
        values = np.array([score(test.confusion) for test in tests])
        if not all(test.sample for test in tests):
            self._remark(
                f"{self.titles[row]}: no interval, without the counts of each image", column
            )
            scores = Scores(seeds, values, {})
            return _Measured(scores, scores)
        spreads: dict[str, tuple[Spread, Spread]] = {}
        for sample in dict.fromkeys(test.sample for test in tests):
            same = np.array([test.sample == sample for test in tests])
            images = [test.images for test in tests if test.sample == sample]
            spreads[sample] = self._spreads(sample, images, score, same, column)
        by_image, by_group = (
            Scores(seeds, values, {sample: pair[i] for sample, pair in spreads.items()})
            for i in range(2)
        )
        grouped = {sample: other for sample, (one, other) in spreads.items() if one is not other}
        few = [s for s, other in grouped.items() if other.units < 2 < 1 + self._number_of_groups(s)]
        if few and not np.isnan(values).any():
            self._remark(
                f"{self.titles[row]}: defined in one group of images only, no interval by group",
                column,
            )
        return _Measured(by_image, by_group if grouped else by_image)

    def _spreads(
        self,
        sample: str,
        images: Sequence[PerImage],
        score: Score,
        same: np.ndarray,
        column: tuple,
    ) -> tuple[Spread, Spread]:
        """By image and by group; zero for the trainings that were tested on another sample."""

        def resampled(units: Sequence[np.ndarray]) -> Spread:
            found = spread(units, score, seed=int(sample[:16], 16))
            deviations = np.zeros((len(same), found.deviations.shape[1]))
            deviations[same] = found.deviations
            return Spread(deviations, found.units)

        by_image = resampled([each.confusion for each in images])
        number = self._number_of_groups(sample)
        if sample not in self.groups:
            self._remark("Not recorded which images are alike: no interval by group", column)
        if number == 1:
            self._remark(
                "One group of images, which are alike: no interval by group, and that by image is "
                "too narrow",
                column,
            )
        if number is None:
            return by_image, by_image
        groups = self.groups[sample]
        return by_image, resampled([sum_groups(each.confusion, groups) for each in images])

    def _why_unpaired(self, one: tuple, other: tuple, column: tuple) -> str | None:
        """What keeps two rows from being compared image by image; None if nothing does."""
        seeds = [
            {t.run["seed"]: t for t in self.tests[row].get(column, ())} for row in (one, other)
        ]
        pairs = [(seeds[0][seed], seeds[1][seed]) for seed in seeds[0].keys() & seeds[1].keys()]
        if not pairs:
            return "no seed in common"
        if not all(a.images and b.images for a, b in pairs):
            return "without the counts of each image"
        if any(not np.array_equal(a.images.names, b.images.names) for a, b in pairs):
            return "other images"
        if any(a.sample != b.sample for a, b in pairs):
            return "other labels of the same images"
        return None

    def _drops(self, row: tuple) -> list[float | None]:
        """Of each column, the mean over the seeds that have one."""
        train = row[0]
        by_seed: dict[int | None, list[dict]] = {}
        for test in self._all(row):
            by_seed.setdefault(test.run["seed"], []).append(test.record)
        drops = []
        for column in self.columns:
            tests = [(t.record, by_seed[t.run["seed"]]) for t in self.tests[row].get(column, ())]
            if any(len(at_home(test, others, train)) > 1 for test, others in tests):
                self._remark(
                    f"{self.titles[row]}: no drop, several splits of its train domain are tested",
                    (train,),
                )
            found = [drop(test, others, train, self.metric) for test, others in tests]
            known = [each for each in found if each is not None]
            drops.append(float(np.mean(known)) if known else None)
        return drops


def _with_mean(measured: Sequence[_Measured | None], away: Sequence[int]) -> list[_Measured | None]:
    """A row, and the mean of some of it at its end; None if one of these is missing."""
    parts = [measured[i] for i in away]
    whole = bool(parts) and None not in parts
    return [*measured, _combined(parts, [1 / len(parts)] * len(parts)) if whole else None]


def _best(
    cells: Sequence[Cell | None],
    place: int,
    difference: Callable[[int, int], list[_Measured | None]],
) -> int | None:
    """The row that is better than every other one of its block that has the cell, by the interval
    of the paired difference; None if there is none, or nothing to compare."""
    rows = [i for i, cell in enumerate(cells) if cell is not None]
    if len(rows) < 2:
        return None
    first = max(rows, key=lambda i: cells[i].value)
    for other in rows:
        if other != first:
            paired = _cell(difference(first, other)[place], least=-1.0)
            if paired is None or paired.interval is None or paired.interval.low <= 0:
                return None
            if len(paired.seeds) == 1 < max(len(cells[i].seeds) for i in (first, other)):
                return None  # of the seeds that the values are means of, it knows but one
    return first
