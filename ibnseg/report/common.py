"""The classes that all tests of a column average: what is compared is averaged over the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ibnseg.evaluation.metrics import METRICS, get_metric, none_for_nan
from ibnseg.evaluation.other import domain_classes
from ibnseg.report.records import TestRecord, column_of
from ibnseg.report.sheet import listed
from ibnseg.support.errors import UserError


def over_common_classes(tests: Sequence[TestRecord], metric: str) -> list[TestRecord]:
    """Averages a metric, in each column, over the classes that all of its tests average.

    A network that was not trained here may know fewer classes than a domain has. Where all tests
    average the same classes, and for a metric that does not depend on which are averaged, such as
    the IoU of one class, records stay as they are.

    Args:
        tests: tests under one protocol.
        metric: the metric's name.

    Returns:
        The tests, with new records where fewer classes are averaged: ``eval_classes``, and in
        ``metrics`` the metric alone, None if it cannot be computed from what is recorded.

    Raises:
        UserError: for tests in one domain whose classes are not the same, or of which none is
            averaged by all.
    """
    columns: dict[tuple, list[TestRecord]] = {}
    for test in tests:
        columns.setdefault(column_of(test), []).append(test)
    common = {column: _common(of_column) for column, of_column in columns.items()}
    return [_averaged(test, metric, common[column_of(test)]) for test in tests]


def depends_on_classes(metric: str) -> bool:
    """Whether a metric's value depends on which classes are averaged, as far as it is known: that
    of a metric of the table may not, and one whose module is not imported may."""
    return metric not in METRICS or METRICS[metric].over_classes


def _common(tests: Sequence[TestRecord]) -> list[str]:
    """The names of the classes that all tests in a domain average, in the domain's order."""
    first = tests[0]
    common = first.record["eval_classes"]
    for test in tests:
        common = [name for name in common if name in test.record["eval_classes"]]
        if domain_classes(test.record) != domain_classes(first.record) or not common:
            raise UserError(
                f"{first.folder} and {test.folder}: tested over different classes on "
                f"{test.record['domain']}, which cannot be compared; test both again"
            )
    return common


def _averaged(test: TestRecord, name: str, classes: list[str]) -> TestRecord:
    """A test whose record averages these classes, some of its own."""
    record = test.record
    if record["eval_classes"] == classes or name in record["classes"]:
        return test
    if not depends_on_classes(name):
        return test
    fewer, value = replace(test, record={**record, "eval_classes": classes}), None
    metric = get_metric(name, record["classes"])
    if metric and metric.score and metric.counts in test.counts:
        value = none_for_nan(metric.score(test.counts[metric.counts], fewer.averaged()))
    return replace(fewer, record={**fewer.record, "metrics": {name: value}}, as_tested=record)


# --- what is said of it ---


def usually_averaged(tests: Sequence[TestRecord]) -> list[str]:
    """Returns the names of all classes that tests in one domain averaged when they were tested, and
    of those that their networks lack, in the domain's order."""
    found = {name for test in tests for name in (*_own(test), *test.record.get("without", ()))}
    return [name for name in domain_classes(tests[0].record) if name in found]


def who_lacks(tests: Mapping[str, Sequence[TestRecord]]) -> str:
    """Says which networks lack, or do not average, which classes in a domain.

    Args:
        tests: those of each network, by its title.
    """
    names = usually_averaged([test for of_network in tests.values() for test in of_network])
    lacking: dict[tuple[str, str], list[str]] = {}
    for title, of_network in tests.items():
        missing = [name for name in names if any(name not in _own(test) for test in of_network)]
        are_unknown = all({*missing} <= {*test.record.get("without", ())} for test in of_network)
        if missing:
            key = ("have" if are_unknown else "average", listed(missing))
            lacking.setdefault(key, []).append(title)
    return "; ".join(
        f"{listed(titles)} {'does' if len(titles) == 1 else 'do'} not {verb} {what}"
        for (verb, what), titles in lacking.items()
    )


def has_lost(test: TestRecord) -> bool:
    """Whether a test's metric was known over its own classes, and is not over fewer of them."""
    return test.as_tested is not None and any(
        value is None and test.as_tested["metrics"].get(name) is not None
        for name, value in test.record["metrics"].items()
    )


def _own(test: TestRecord) -> list[str]:
    """The names of the classes that a test averaged when it was tested."""
    return (test.as_tested or test.record)["eval_classes"]
