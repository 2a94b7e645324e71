"""Pixels that are predicted as a class that the tested domain does not have.

A network that was not trained here may know other classes than a domain. What it takes for one of
these is counted in a column of its own, so that it stays wrong for its true class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ibnseg.evaluation.metrics import CONFUSION

OTHER = "other"
"""The last class of a test in which such pixels were predicted. It is neither true nor averaged."""


def has_other(record: Mapping) -> bool:
    """Whether the last class of a test's record is ``OTHER``, which no pixel has in truth."""
    *_, last = record["classes"]
    named = last == OTHER and OTHER not in record["eval_classes"]
    return named and not any(record[CONFUSION][-1])


def domain_classes(record: Mapping) -> list[str]:
    """Returns the names of the classes of a test's record that its domain has."""
    return record["classes"][:-1] if has_other(record) else record["classes"]


def share_of_other(record: Mapping) -> float:
    """Computes the share of a test's pixels that are predicted as ``OTHER``, ignored ones left out;
    0 if the record does not have it."""
    if not has_other(record):
        return 0.0
    counts = np.asarray(record[CONFUSION])
    return float(counts[:, -1].sum() / counts.sum())
