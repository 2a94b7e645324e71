"""Recognises the release of a drivable area map by its ids, because the same three numbers mean
different classes in each release."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

BACKGROUNDS = {"2018": 0, "2021": 2}
"""The id of the background in each release."""

TOLERATED = 0.01
"""The share of the maps that may look like those of another release, as odd predictions do."""


def release_of(ids: np.ndarray) -> str | None:
    """Recognises the release of a map's ids by its upper tenth, which shows background.

    Args:
        ids: (H, W) uint8.

    Returns:
        The release in ``BACKGROUNDS`` whose id at least 99 % of the upper tenth have; None if there
        is none, or if the whole map has a single id, which decides nothing.
    """
    top = ids[: max(1, len(ids) // 10)]
    if (ids == ids.flat[0]).all():
        return None
    shares = {release: np.mean(top == id_) for release, id_ in BACKGROUNDS.items()}
    return next((release for release, share in shares.items() if share >= 0.99), None)


def maps_of_another_release(releases: Mapping[str, str | None], expected: str) -> list[str]:
    """Finds the maps that have the ids of another release, unless there are only a few odd ones.

    Args:
        releases: the release of each map from :func:`release_of`, by the map's name.
        expected: the release that the maps should have.

    Returns:
        The names of these maps; none if their share of the recognised maps is at most
        ``TOLERATED``.
    """
    known = {name: release for name, release in releases.items() if release is not None}
    others = [name for name, release in known.items() if release != expected]
    return others if len(others) > TOLERATED * len(known) else []
