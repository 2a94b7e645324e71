"""Names networks in tables and plots."""

from __future__ import annotations

from collections.abc import Mapping

Network = tuple[str, str, str]
"""The train domain, config and model of a network, which its seeds share
(:func:`ibnseg.report.records.network_of`)."""


def labels(titles: Mapping[Network, str], domains: Mapping[str, str]) -> dict[Network, str]:
    """Returns each network's title, with as much detail as distinguishes it from the others.

    Args:
        titles: titles of networks.
        domains: titles of domains, by their names.
    """

    def trained(network: Network) -> str:
        return f"{titles[network]}, {domains.get(network[0], network[0])}"

    ways = (
        lambda network: titles[network],
        trained,
        lambda network: f"{titles[network]} ({network[1]})",
        lambda network: f"{trained(network)} ({network[1]})",
    )
    for way in ways:
        named = {network: way(network) for network in titles}
        if len(set(named.values())) == len(named):
            break
    return named
