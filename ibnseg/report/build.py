"""Builds matrices from the tests of runs: rows, columns, blocks, and remarks on what is missing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ibnseg.evaluation.metrics import METRICS, Metric, get_metric
from ibnseg.evaluation.results import UNKNOWN, selected_on, trained_in
from ibnseg.report.common import (
    depends_on_classes,
    has_lost,
    over_common_classes,
    usually_averaged,
    who_lacks,
)
from ibnseg.report.gaps import at_home, drop
from ibnseg.report.images import Images, are_grouped, read_images
from ibnseg.report.matrix import Block, Cell, Column, Matrix, Remark, Row
from ibnseg.report.measured import (
    Measurement,
    are_single,
    best_of,
    bounds_of,
    cell_of,
    combined,
    of_one_seed,
    resampled,
    values_of,
    with_mean,
)
from ibnseg.report.records import (
    Network,
    Place,
    TestRecord,
    column_of,
    knows_recipe,
    network_of,
    protocol_of,
)
from ibnseg.report.sheet import listed
from ibnseg.report.statistics import Scores


def build(
    tests: Sequence[TestRecord], metric: str = "mIoU", domains: Sequence[str] | None = None
) -> list[Matrix]:
    """Builds the matrices of some tests, one for each protocol: a name, version and inference.

    Runs of one config, network and train domain are one row, and their seeds a sample of trainings.
    Rows of one train domain are a block; all of them are compared with its first one. A column
    averages the classes that all of its rows average (:mod:`ibnseg.report.common`).

    Args:
        tests: from ``ibnseg.report.records.read_runs``.
        metric: one of ``ibnseg.evaluation.metrics.METRICS``, a class, whose IoU it is, or one that
            the tests have recorded.
        domains: names of the only test domains to show; all if None.

    Raises:
        UserError: for damaged counts of images, for recorded values that differ from what the
            counts give, and for tests in one domain that have no averaged class in common.
    """
    by_protocol: dict[tuple, list[TestRecord]] = {}
    for test in tests:
        by_protocol.setdefault(protocol_of(test), []).append(test)
    built = (
        _Builder(metric, over_common_classes(found, metric), domains).matrix()
        for found in by_protocol.values()
    )
    return [matrix for matrix in built if matrix.columns]


def describe_metric(name: str, tests: Sequence[TestRecord]) -> Metric | None:
    """Finds a metric by its name: in the table or, without a score, as some tests recorded it.

    Returns:
        None if it is in neither.
    """
    for test in tests:
        if metric := get_metric(name, test.record["classes"]):
            return metric
    if name in METRICS:
        return METRICS[name]
    for test in tests:
        if name in test.record["metrics"]:
            facts = test.metrics.get(name, {})
            return Metric(name, score=None, source="", **{"title": name, **facts})
    return None


class _Builder:
    """What the cells of one matrix share: its tests, the groups of images, the remarks."""

    def __init__(
        self, metric: str, tests: Sequence[TestRecord], domains: Sequence[str] | None
    ) -> None:
        self.metric = describe_metric(metric, tests) or Metric(metric, metric, None, "")
        self.protocol = tests[0].record["protocol"]
        self.remarks: dict[str, dict[str, None]] = {}
        self.tests: dict[Network, dict[Place, list[TestRecord]]] = {}
        for test in tests:
            row = self.tests.setdefault(network_of(test.run), {})
            row.setdefault(column_of(test), []).append(test)
        self.trains = {row: trained_in(self._any(row).run) for row in self.tests}
        found = dict.fromkeys(column for row in self.tests.values() for column in row)
        columns = [column for column in found if domains is None or column.domain in domains]
        self.rows = [row for row, cells in self.tests.items() if cells.keys() & set(columns)]
        trains = list(dict.fromkeys(name for row in self.rows for name in self.trains[row]))
        self.columns = sorted(
            columns,
            key=lambda column: (
                trains.index(column.domain) if column.domain in trains else len(trains)
            ),
        )
        read = [test for test in tests if column_of(test) in columns]
        found_images = read_images(read, metric, hidden=not sys.stdout.isatty())
        self.images = {
            (test.folder, column_of(test)): images
            for test, images in zip(read, found_images, strict=True)
        }
        self.groups = {
            each.sample: each.groups for each in found_images if each and each.groups is not None
        }
        """The group of each image, by the sample; samples without groups are not in it."""
        self.titles = self._titles()
        for row in self.rows:
            self._remark_selection(row)
        self.averaged = {column: self._fewer_classes(column) for column in self.columns}
        """For each column the names of the classes that are averaged, if they are fewer."""
        self.measured = {
            (row, column): self._measure(row, column)
            for row in self.rows
            for column in self.columns
        }

    def matrix(self) -> Matrix:
        """Returns the matrix, with its blocks in the order of the tests."""
        blocks = [
            self._block(train, [row for row in self.rows if row.train == train])
            for train in dict.fromkeys(row.train for row in self.rows)
        ]
        columns = tuple(self._column(*column) for column in self.columns)
        remarks = tuple(Remark(text, tuple(domains)) for text, domains in self.remarks.items())
        return Matrix(self.protocol, self.metric.name, columns, tuple(blocks), remarks)

    # --- what rows and columns are ---

    def _titles(self) -> dict[Network, str]:
        """The titles of rows, followed by the config's name if two in a block have the same."""
        plain = {row: self._any(row).run["title"] for row in self.rows}
        called = Counter((row.train, title) for row, title in plain.items())
        return {
            row: title if called[row.train, title] == 1 else f"{title} ({row.config})"
            for row, title in plain.items()
        }

    def _any(self, row: Network) -> TestRecord:
        return next(iter(self.tests[row].values()))[0]

    def _all(self, row: Network) -> list[TestRecord]:
        return [test for tests in self.tests[row].values() for test in tests]

    def _remark(self, text: str, domain: str | None = None) -> None:
        self.remarks.setdefault(text, {}).update({domain: None} if domain else {})

    def _remark_selection(self, row: Network) -> None:
        """Remarks where a row was tested on the domain whose labels chose its checkpoints."""
        tested = {column.domain for column in self.tests[row] if column in self.columns}
        for name in {name: None for test in self._all(row) for name in selected_on(test.run)}:
            if name == UNKNOWN:
                self._remark(
                    f"{self.titles[row]}: the checkpoint's name says best, it may have been "
                    "selected on a tested domain"
                )
            elif name in tested:
                self._remark(
                    f"{self.titles[row]}: the checkpoint was selected on this domain's labels", name
                )

    def _column(self, domain: str, split: str) -> Column:
        tests = [test for row in self.rows for test in self.tests[row].get((domain, split), ())]
        samples = {found.sample for test in tests if (found := self._images(test))}
        groups = [self.groups.get(sample) for sample in samples]
        numbers = {len(np.unique(each)) for each in groups if are_grouped(each)}
        images = tuple(sorted({test.record["images"] for test in tests}))
        fewer = self.averaged[domain, split]
        return Column(domain, split, images, max(numbers, default=None), fewer)

    def _fewer_classes(self, column: Place) -> tuple[str, ...] | None:
        """The classes that a column averages, if not all that its domain does; it remarks why."""
        rows = {self.titles[row]: self.tests[row].get(column, []) for row in self.rows}
        tests = [test for of_row in rows.values() for test in of_row]
        averaged, usual = tests[0].record["eval_classes"], usually_averaged(tests)
        name, classes = self.metric.name, tests[0].record["classes"]
        if len(averaged) == len(usual) or name in classes or not depends_on_classes(name):
            return None
        number, why = f"{len(averaged)} of {len(usual)} classes", who_lacks(rows)
        if lost := [title for title, of_row in rows.items() if any(map(has_lost, of_row))]:
            text = f"{listed(lost)}: no {name}, which cannot be computed over {number}; {why}"
        else:
            text = f"Averaged over {number}, because {why}"
        self._remark(text, column.domain)
        return tuple(averaged)

    def _images(self, test: TestRecord) -> Images | None:
        return self.images[test.folder, column_of(test)]

    def _row(self, row: Network, cells: Sequence[Cell | None]) -> Row:
        at = {test.run["seed"]: test.run["iteration"] for test in self._all(row)}
        if len(set(at.values())) > 1:
            steps = ", ".join(f"{iteration} of seed {seed}" for seed, iteration in at.items())
            self._remark(f"{self.titles[row]}: tested after different numbers of steps, {steps}")
        if len(at) > 1 and not all(knows_recipe(test.run) for test in self._all(row)):
            self._remark(
                f"{self.titles[row]}: recipe partly known; the runs may differ in more than seeds"
            )
        return Row(row.config, row.model, self.titles[row], tuple(at), tuple(cells[:-1]), cells[-1])

    # --- what is measured ---

    def _measure(self, row: Network, column: Place) -> Measurement | None:
        tests = self.tests[row].get(column)
        if not tests:
            return None
        metric = get_metric(self.metric.name, tests[0].record["classes"])
        values = values_of(tests, self.metric.name, metric)
        seeds = tuple(test.run["seed"] for test in tests)
        plain = Scores(seeds, values, {})
        if why := self._why_not_resampled(row, tests, metric):
            if not np.isnan(values).all():
                self._remark(why, column.domain)
            return Measurement(plain, plain)
        images = [self._images(test) for test in tests]
        spreads = resampled(images)
        self._remark_groups(spreads, column)
        by_image, by_group = (
            Scores(seeds, values, {sample: pair[i] for sample, pair in spreads.items()})
            for i in range(2)
        )
        grouped = [sample for sample in spreads if are_grouped(self.groups.get(sample))]
        few = [
            sample
            for sample in grouped
            if spreads[sample][1].units < 2 <= len(np.unique(self.groups[sample]))
        ]
        if few and not np.isnan(values).any():
            self._remark(
                f"{self.titles[row]}: defined in one group of images only, no interval by group",
                column.domain,
            )
        return Measurement(by_image, by_group if grouped else by_image)

    def _why_not_resampled(
        self, row: Network, tests: Sequence[TestRecord], metric: Metric | None
    ) -> str | None:
        """Why there is no interval, whatever the images; None if there may be one."""
        name = self.metric.name
        if metric is None:
            return (
                f"{name}: as recorded, without intervals; its formula is in a module that is not "
                "imported; give --import MODULE"
            )
        if metric.score is None:
            return f"{name}: as recorded, without intervals; it is counted in testing alone"
        if not all(self._images(test) for test in tests):
            return f"{self.titles[row]}: no interval, the counts of each image are missing"
        if not all(metric.counts in test.counts for test in tests):
            return f"{self.titles[row]}: {name} was not counted in testing"
        return None

    def _remark_groups(self, samples: Iterable[str], column: Place) -> None:
        for sample in samples:
            groups = self.groups.get(sample)
            if groups is None:
                self._remark(
                    "Not recorded which images are alike: no interval by group", column.domain
                )
            elif are_grouped(groups) and len(np.unique(groups)) == 1:
                self._remark(
                    "One group of images, which are alike: no interval by group, and that by image "
                    "is too narrow",
                    column.domain,
                )

    def _drops(self, row: Network) -> list[float | None]:
        """Returns the drop of each column, the mean over the seeds that have one."""
        trains = self.trains[row]
        by_seed: dict[int | None, list[dict]] = {}
        for test in self._all(row):
            by_seed.setdefault(test.run["seed"], []).append(test.record)
        drops = []
        for column in self.columns:
            tests = [(t.record, by_seed[t.run["seed"]]) for t in self.tests[row].get(column, ())]
            homes = [splits for test, others in tests for splits in at_home(test, others, trains)]
            for splits in homes:
                if len(splits) > 1:
                    self._remark(
                        f"{self.titles[row]}: no drop, several splits of its train domain are "
                        "tested",
                        splits[0]["domain"],
                    )
            found = [drop(test, others, trains, self.metric.name) for test, others in tests]
            known = [each for each in found if each is not None]
            drops.append(float(np.mean(known)) if known else None)
        return drops

    # --- what is compared ---

    def _block(self, train: str, rows: Sequence[Network]) -> Block:
        trains = self.trains[rows[0]]
        tested = {column for row in rows for column in self.tests[row]}
        away = [i for i, c in enumerate(self.columns) if c in tested and c.domain not in trains]
        bounds, width = (bounds_of(self.metric.unit, difference) for difference in (False, True))
        measured = [
            with_mean([self.measured[row, column] for column in self.columns], away) for row in rows
        ]

        @cache
        def difference(one: int, other: int) -> list[Cell | None]:
            reasons = [self._why_unpaired(rows[one], rows[other], c) for c in self.columns]
            paired = zip(reasons, measured[one], measured[other], strict=False)
            parts = [None if why else combined(of_one_seed(a, b), (1, -1)) for why, a, b in paired]
            return [cell_of(each, width) for each in with_mean(parts, away)]

        drops = [[*self._drops(row), None] for row in rows]
        cells = [
            [cell_of(each, bounds, lost) for each, lost in zip(*line, strict=True)]
            for line in zip(measured, drops, strict=True)
        ]
        for place in range(len(self.columns) + 1):
            best = best_of(
                [line[place] for line in cells],
                lambda one, other, place=place: difference(one, other)[place],
                self.metric.higher_is_better,
            )
            if best is not None:
                cells[best][place] = replace(cells[best][place], best=True)
        shown = [self._row(row, line) for row, line in zip(rows, cells, strict=True)]
        differences = []
        for i, row in enumerate(rows[1:], start=1):
            title = f"{self.titles[row]} minus {self.titles[rows[0]]}"
            for column in self.columns:
                why = self._why_unpaired(row, rows[0], column)
                if why and column in self.tests[row] and column in self.tests[rows[0]]:
                    self._remark(f"{title}: not paired, {why}", column.domain)
            found = self._row(row, difference(i, 0))
            common = tuple(seed for seed in found.seeds if seed in shown[0].seeds)
            if not common and any(cell is not None for cell in found.cells):
                common = found.seeds
                self._remark(
                    f"{title}: one training of each, paired by images alone, because the seed of "
                    "one is not known"
                )
            differences.append(replace(found, seeds=common))
        return Block(train, trains, tuple(shown), tuple(differences))

    def _why_unpaired(self, one: Network, other: Network, column: Place) -> str | None:
        """What keeps two rows from being compared image by image; None if nothing does."""
        seeds = [
            {t.run["seed"]: t for t in self.tests[row].get(column, ())} for row in (one, other)
        ]
        pairs = [(seeds[0][seed], seeds[1][seed]) for seed in seeds[0].keys() & seeds[1].keys()]
        if not pairs and are_single(*(tuple(each) for each in seeds)):
            pairs = [tuple(test for each in seeds for test in each.values())]
        if not pairs:
            return "no seed in common"
        images = [(self._images(one), self._images(other)) for one, other in pairs]
        if not all(a and b for a, b in images):
            return "the counts of each image are missing"
        if any(a.names != b.names for a, b in images):
            return "tested on different images"
        if any(a.sample != b.sample for a, b in images):
            return "tested on the same images with different labels"
        return None
