"""Finds where two values differ, so that a message need not show them whole."""

from __future__ import annotations

from collections.abc import Mapping

UNSET = "not set"
"""Stands for the value of a key that one of the two does not have."""


def first_difference(name: str, one: object, other: object) -> tuple[str, object, object]:
    """Follows two different values to the first key, in alphabetical order, in which they differ.

    Args:
        name: what the values are called, e.g. ``model``.
        one, other: the values; mappings whose keys are texts are followed.

    Returns:
        The dotted name of what differs, e.g. ``model.backbone.depth``, and its two values.
    """
    while isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = (k for k in sorted({*one, *other}) if one.get(k, UNSET) != other.get(k, UNSET))
        key = next(keys, None)
        if key is None:
            break
        name, one, other = f"{name}.{key}", one.get(key, UNSET), other.get(key, UNSET)
    return name, one, other
