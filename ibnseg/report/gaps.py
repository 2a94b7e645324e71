"""The drop of a test: what the network loses between its training domains and the tested one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ibnseg.evaluation.metrics import value_of


def at_home(test: Mapping, tests: Sequence[Mapping], trains: Sequence[str]) -> list[list[Mapping]]:
    """Finds the tests in the training domains that a test is compared with for its drop.

    They are those under the same protocol.

    Args:
        test: a record of results.
        tests: all records of the same checkpoint.
        trains: names of its training domains.

    Returns:
        For each training domain a list, with a test for each split that was tested; an empty list
        for a test in a training domain itself.
    """
    if test["domain"] in trains:
        return []
    return [
        [each for each in tests if (each["domain"], each["protocol"]) == (train, test["protocol"])]
        for train in trains
    ]


def drop(
    test: Mapping, tests: Sequence[Mapping], trains: Sequence[str], metric: str = "mIoU"
) -> float | None:
    """Computes a metric in the training domain (the mean over several) minus that of a test.

    If the test in a training domain averages other classes, its value is computed anew over the
    classes of the test.

    Args:
        test, tests, trains: as for :func:`at_home`.
        metric: one of ``ibnseg.evaluation.metrics.METRICS``, or a class, whose IoU it is.

    Returns:
        A fraction, or in the metric's unit. None for a test in a training domain itself, if a value
        is undefined, and unless exactly one split of each training domain was tested under the same
        protocol.
    """
    homes = at_home(test, tests, trains)
    if not homes or any(len(splits) != 1 for splits in homes):
        return None
    before = [value_of(home, metric, test["eval_classes"]) for (home,) in homes]
    after = value_of(test, metric)
    return None if None in (*before, after) else sum(before) / len(before) - after
