"""Groups the records of ``ibnseg robustness`` by network, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ibnseg.analysis.networks import labels
from ibnseg.report.records import Network


def network_of_record(record: Mapping) -> Network:
    """Returns the network that a record belongs to."""
    return Network(record["train_domain"], record["run"], record["model"])


def called(records: Sequence[Mapping], domains: Mapping[str, str]) -> dict[Network, str]:
    """Returns the name of each network in some records, in their order.

    Args:
        records: the records of a result.
        domains: titles of domains, by their names.
    """
    return labels({network_of_record(record): record["title"] for record in records}, domains)


def by_seed(
    records: Sequence[Mapping], key: str, by_severity: bool = True
) -> dict[tuple, dict[int | None, float]]:
    """Returns the value of each seed, in percent, by (domain, network, appearance, severity).

    Args:
        records: the records of a result.
        key: ``mIoU`` or ``drop``.
        by_severity: if False, the mean over a condition's severities, and keys without severity.

    Returns:
        A value for each seed of each key, in percent; NaN if undefined.
    """
    found: dict[tuple, dict] = {}
    for record in records:
        place = (record["domain"], network_of_record(record), record["appearance"])
        place += (record["severity"],) if by_severity else ()
        value = np.nan if record[key] is None else 100 * record[key]
        found.setdefault(place, {}).setdefault(record["seed"], []).append(value)
    return {
        place: {seed: float(np.mean(values)) for seed, values in seeds.items()}
        for place, seeds in found.items()
    }


def values_over_seeds(
    records: Sequence[Mapping], key: str, by_severity: bool = True
) -> dict[tuple, np.ndarray]:
    """Returns what :func:`by_seed` does, as an array (seeds,) float64 for each key."""
    found = by_seed(records, key, by_severity)
    return {place: np.array(list(seeds.values())) for place, seeds in found.items()}
