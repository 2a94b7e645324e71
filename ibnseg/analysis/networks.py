"""Names networks in tables and plots."""

from __future__ import annotations

from collections.abc import Mapping

from ibnseg.report.records import Network


def labels(titles: Mapping[Network, str], domains: Mapping[str, str]) -> dict[Network, str]:
    """Returns each network's title, with as much detail as distinguishes it from the others.

    Args:
        titles: titles of networks.
        domains: titles of domains, by their names.
    """

    def trained(network: Network) -> str:
        return f"{titles[network]}, {domains.get(network.train, network.train)}"

    ways = (
        lambda network: titles[network],
        trained,
        lambda network: f"{titles[network]} ({network.config})",
        lambda network: f"{trained(network)} ({network.config})",
    )
    for way in ways:
        named = {network: way(network) for network in titles}
        if len(set(named.values())) == len(named):
            break
    return named
