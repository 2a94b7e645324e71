"""From folders of runs, and published numbers, to what a report shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.read import load_config
from ibnseg.report.matrix import Matrix, build
from ibnseg.report.published import Published, read_published
from ibnseg.report.published_rows import PublishedRow, as_rows, select
from ibnseg.report.records import METRICS, Test, read_runs
from ibnseg.support.errors import UserError, unknown_name


@dataclass(frozen=True)
class Report:
    """What is to be shown."""

    metric: str
    matrices: Sequence[Matrix]
    beside: Sequence[Sequence[PublishedRow]]
    """The published numbers under the protocol of each matrix."""
    apart: Mapping[str, Sequence[PublishedRow]]
    """Those under other protocols, by their names."""
    titles: Mapping[str, str]
    """What domains are called, by name; the name itself where it is not there."""

    @property
    def has_published(self) -> bool:
        """Whether any published number is in it."""
        return bool(self.apart) or any(self.beside)

    def title(self, domain: str) -> str:
        return self.titles.get(domain, domain)


def gather(
    runs: Sequence[str | Path],
    metric: str = "mIoU",
    protocols: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    published: bool = False,
    networks: Mapping[Path, str] | None = None,
) -> Report:
    """Reads runs and compares them.

    Args:
        runs: their folders, or their results files.
        metric: one of ``ibnseg.report.records.METRICS``, or a class, whose IoU it is.
        protocols: names of the only ones to show, as ``native``.
        domains: names of the only test domains to show.
        published: whether published numbers are shown too: with runs, those whose train and test
            domains are among theirs.
        networks: what networks are called, by folders of runs, instead of what results say.

    Raises:
        UserError: for wrong input, and if there is nothing to show.
    """
    if not runs and not published:
        raise UserError("no run to show; give folders of runs, or --published")
    tests = [
        replace(test, run={**test.run, "title": networks[test.folder]})
        if networks and test.folder in networks
        else test
        for test in read_runs(runs)
    ]
    numbers = read_published() if published else ()
    _check_names(tests, numbers, metric, protocols, domains)
    shown = [test for test in tests if protocols is None or _protocol(test) in protocols]
    matrices = build(shown, metric, domains)
    if runs:
        trained = {test.run["train_domain"] for test in tests}
        tested = {test.record["domain"] for test in tests} & set(domains or _domains(tests))
    else:
        trained, tested = None, domains
    rows = as_rows(select(numbers, metric, protocols, tested, trained))
    if not matrices and not rows:
        raise UserError(f"nothing to show of {metric} in these domains under these protocols")
    names = [each.protocol["name"] for each in matrices]
    alone = {name for name in names if names.count(name) == 1}
    return Report(
        metric,
        matrices,
        [[row for row in rows if row.protocol == name and name in alone] for name in names],
        {
            name: [row for row in rows if row.protocol == name]
            for name in dict.fromkeys(row.protocol for row in rows)
            if name not in alone
        },
        _titles(tests, {*_domains(tests), *(d for row in rows for d in (*row.train, *row.values))}),
    )


def _protocol(test: Test) -> str:
    return test.record["protocol"]["name"]


def _domains(tests: Iterable[Test]) -> set[str]:
    return {name for test in tests for name in (test.record["domain"], test.run["train_domain"])}


def _check_names(
    tests: Sequence[Test],
    numbers: Sequence[Published],
    metric: str,
    protocols: Sequence[str] | None,
    domains: Sequence[str] | None,
) -> None:
    classes = {name for test in tests for name in test.record["classes"]} or set(CLASSES)
    if metric not in {*METRICS, *classes}:
        raise unknown_name("metric", metric, {*METRICS, *classes})
    under = {_protocol(test) for test in tests} | {number.protocol for number in numbers}
    for name in protocols or ():
        if name not in under:
            raise unknown_name("protocol of these results", name, under)
    tested = {test.record["domain"] for test in tests} or {number.test for number in numbers}
    for name in domains or ():
        if name not in tested:
            raise unknown_name("test domain of these results", name, tested)


def _titles(tests: Sequence[Test], names: Collection[str]) -> dict[str, str]:
    """By the runs' configs, then by the package's."""
    titles: dict[str, str] = {}
    configs = [test.folder / "config.py" for test in tests]
    for path in (*dict.fromkeys(configs), None):
        missing = set(names) - titles.keys()
        if missing and (path is None or path.is_file()):
            titles |= Domains.of(load_config(path) if path else Config()).titles(missing)
    return titles
