"""Which release's ids a map of the drivable area has: the same three numbers mean other things."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

BACKGROUNDS = {"2018": 0, "2021": 2}
"""The background's id in each release."""

TOLERATED = 0.01
"""Share of the maps that may look like the other release's, as an odd prediction does."""


def release_of(ids: np.ndarray) -> str | None:
    """The release whose ids a map has, by its upper tenth, which shows sky and houses.

    Args:
        ids: (H, W) uint8.

    Returns:
        The name in ``BACKGROUNDS`` whose id at least 99 % of the upper tenth have; None if there is
        none, and for a map of one id, which says nothing.
    """
    top = ids[: max(1, len(ids) // 10)]
    if (ids == ids.flat[0]).all():
        return None
    shares = {release: np.mean(top == id_) for release, id_ in BACKGROUNDS.items()}
    return next((release for release, share in shares.items() if share >= 0.99), None)


def of_another_release(releases: Mapping[str, str | None], expected: str) -> list[str]:
    """The maps that have another release's ids, if they are more than a few odd ones.

    Args:
        releases: of each map, by name, from :func:`release_of`.
        expected: the release that they should be of.

    Returns:
        Their names, none if they are at most ``TOLERATED`` of those that say something.
    """
    known = {name: release for name, release in releases.items() if release is not None}
    others = [name for name, release in known.items() if release != expected]
    return others if len(others) > TOLERATED * len(known) else []
