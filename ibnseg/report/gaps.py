"""The drop of a test: what the network loses between its training domain and the tested one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ibnseg.evaluation import drivable


def at_home(test: Mapping, tests: Sequence[Mapping], train_domain: str) -> list[Mapping]:
    """The tests that a test's drop could count from: in the training domain, under its protocol.

    Args:
        test: a record of results.
        tests: all records of the same checkpoint.
        train_domain: its training domain.

    Returns:
        None of them for a test in the training domain itself; one for each of its splits.
    """
    if test["domain"] == train_domain:
        return []
    return [
        other
        for other in tests
        if other["domain"] == train_domain and other["protocol"] == test["protocol"]
    ]


def drop(
    test: Mapping, tests: Sequence[Mapping], train_domain: str, metric: str = "mIoU"
) -> float | None:
    """A metric in the training domain minus that of a test.

    Where the test averages other classes than that of the training domain, the latter's IoU is
    averaged over the test's classes too.

    Args:
        test, tests, train_domain: as for :func:`at_home`.
        metric: one of ``ibnseg.report.records.METRICS``, or a class, whose IoU it is.

    Returns:
        A fraction. None in the training domain itself, where either value is undefined, and where
        not exactly one split of the training domain was tested under the same protocol.
    """
    homes = at_home(test, tests, train_domain)
    if len(homes) != 1:
        return None
    before, after = (_value(each, metric, test["eval_classes"]) for each in (homes[0], test))
    return None if before is None or after is None else before - after


def _value(test: Mapping, metric: str, averaged: Sequence[str]) -> float | None:
    if metric == "pixel_accuracy":
        return test["pixel_accuracy"]
    if metric in drivable.METRICS:
        return drivable.recorded(test, metric)
    if metric != "mIoU":
        return test["iou"].get(metric) if metric in averaged else None
    if test["eval_classes"] == averaged:
        return test["mIoU"]
    known = [test["iou"][name] for name in averaged if test["iou"].get(name) is not None]
    return sum(known) / len(known) if known else None
