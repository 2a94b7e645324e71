"""The values of networks in a result of ``ibnseg robustness``, over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ibnseg.analysis.networks import Network, labels


def network_of_record(record: Mapping) -> Network:
    """The network that a record is of."""
    return record["train_domain"], record["run"], record["model"]


def called(records: Sequence[Mapping], domains: Mapping[str, str]) -> dict[Network, str]:
    """What each network of some records is called, in their order."""
    return labels({network_of_record(record): record["title"] for record in records}, domains)


def by_seed(
    records: Sequence[Mapping], key: str, by_severity: bool = True
) -> dict[tuple, dict[int | None, float]]:
    """The value of each seed, in percent, by domain, network, appearance and severity.

    Args:
        records: of a result.
        key: ``mIoU`` or ``drop``.
        by_severity: else the mean over a condition's severities, and no severity in the keys.

    Returns:
        NaN where undefined.
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
    """Returns what :func:`by_seed` does, with an array (seeds,) float64 for each key."""
    found = by_seed(records, key, by_severity)
    return {place: np.array(list(seeds.values())) for place, seeds in found.items()}
