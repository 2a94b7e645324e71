"""Gathers what a report shows from runs and published numbers; nothing of a run is executed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CLASSES
from ibnseg.evaluation.metrics import METRICS, Metric, get_metric
from ibnseg.evaluation.results import trained_in
from ibnseg.report.build import build, describe_metric
from ibnseg.report.matrix import Matrix
from ibnseg.report.published import Published, PublishedRow, as_rows, read_published, select
from ibnseg.report.records import RecipeOf, TestRecord, read_runs
from ibnseg.support.errors import UserError, unknown_name


@dataclass(frozen=True)
class Report:
    """What a report shows, whatever format it is printed in."""

    metric: Metric
    """The metric of all measured values. If its module is not imported, its score is None."""
    matrices: Sequence[Matrix]
    beside: Sequence[Sequence[PublishedRow]]
    """The published numbers under the protocol of each matrix."""
    apart: Mapping[str, Sequence[PublishedRow]]
    """The published numbers under other protocols, by the protocol's name."""
    titles: Mapping[str, str]
    """What domains are called, by name; the name itself if it is not there."""

    @property
    def has_published(self) -> bool:
        """Whether any published number is in it."""
        return bool(self.apart) or any(self.beside)

    def title(self, *domains: str) -> str:
        """Makes the title of one domain, or of several together."""
        return " + ".join(self.titles.get(name, name) for name in domains)


def gather(
    runs: Sequence[str | Path],
    metric: str = "mIoU",
    protocols: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    published: bool = False,
    networks: Mapping[Path, str] | None = None,
    recipe_of: RecipeOf | None = None,
) -> Report:
    """Reads runs and compares them.

    Args:
        runs: their folders, or their results files.
        metric: one of ``ibnseg.evaluation.metrics.METRICS``, a class, whose IoU it is, or a metric
            that the runs have recorded.
        protocols: names of the only ones to show, such as ``native``.
        domains: names of the only test domains to show.
        published: whether published numbers are shown too; if runs are given, only those whose
            train and test domains are among the runs'.
        networks: titles of networks, by the folder of the run, instead of those in results.
        recipe_of: as for :func:`~ibnseg.report.records.read_runs`.

    Raises:
        UserError: for unknown names, runs that cannot be read or compared, and if there is nothing
            to show.
    """
    if not runs and not published:
        raise UserError("no run to show; give folders of runs, or --published")
    tests = [
        replace(test, run={**test.run, "title": networks[test.folder]})
        if networks and test.folder in networks
        else test
        for test in read_runs(runs, recipe_of)
    ]
    numbers = read_published() if published else ()
    described = _describe(metric, tests)
    _check_names(tests, numbers, protocols, domains)
    shown = [test for test in tests if protocols is None or _protocol(test) in protocols]
    matrices = build(shown, metric, domains)
    if runs:
        trained = {name for test in tests for name in trained_in(test.run)}
        tested = {test.record["domain"] for test in tests} & set(domains or _domains(tests))
    else:
        trained, tested = None, domains
    rows = as_rows(select(numbers, metric, protocols, tested, trained))
    if not matrices and not rows:
        raise UserError(f"nothing to show of {metric} in these domains under these protocols")
    names = [each.protocol["name"] for each in matrices]
    alone = {name for name in names if names.count(name) == 1}
    return Report(
        described,
        matrices,
        [[row for row in rows if row.protocol == name and name in alone] for name in names],
        {
            name: [row for row in rows if row.protocol == name]
            for name in dict.fromkeys(row.protocol for row in rows)
            if name not in alone
        },
        _titles(tests, {*_domains(tests), *(d for row in rows for d in (*row.train, *row.values))}),
    )


def _protocol(test: TestRecord) -> str:
    return test.record["protocol"]["name"]


def _domains(tests: Iterable[TestRecord]) -> set[str]:
    return {name for test in tests for name in (test.record["domain"], *trained_in(test.run))}


def _describe(metric: str, tests: Sequence[TestRecord]) -> Metric:
    described = describe_metric(metric, tests) or (None if tests else get_metric(metric, CLASSES))
    if described is None:
        classes = {name for test in tests for name in test.record["classes"]} or set(CLASSES)
        recorded = {name for test in tests for name in test.record["metrics"]}
        raise unknown_name("metric", metric, {*METRICS, *classes, *recorded})
    return described


def _check_names(
    tests: Sequence[TestRecord],
    numbers: Sequence[Published],
    protocols: Sequence[str] | None,
    domains: Sequence[str] | None,
) -> None:
    under = {_protocol(test) for test in tests} | {number.protocol for number in numbers}
    for name in protocols or ():
        if name not in under:
            raise unknown_name("protocol of these results", name, under)
    tested = {test.record["domain"] for test in tests} or {number.test for number in numbers}
    for name in domains or ():
        if name not in tested:
            raise unknown_name("test domain of these results", name, tested)


def _titles(tests: Sequence[TestRecord], names: Collection[str]) -> dict[str, str]:
    """The titles of domains: those that results record, else (schema 1) those of their files."""
    recorded = {
        name: facts["title"] for test in reversed(tests) for name, facts in test.domains.items()
    }
    return Domains().titles(set(names) - recorded.keys()) | recorded
