"""Brings the classes of a network that was not trained here to those of a domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ibnseg.datasets.labels import CITYSCAPES, IGNORE, ClassSet
from ibnseg.networks.facts import Facts, named_as_tested


def classes_as_tested(facts: Facts) -> list[str]:
    """Returns names for all classes of a network, those of the tested domains where there are any;
    several classes of one name are one."""
    names = named_as_tested(facts.classes, facts.class_map)
    pairs = zip(names, facts.classes, strict=True)
    return list(dict.fromkeys(name or own for name, own in pairs))


def class_set_of(facts: Facts) -> ClassSet:
    """Returns the classes in which a network's predictions are written: those of Cityscapes if the
    network has no other ones, else its own, in colours that are made up."""
    names = classes_as_tested(facts)
    if set(names) <= set(CITYSCAPES.classes):
        return CITYSCAPES
    return ClassSet(facts.title, tuple(names), palette_of(len(names)))


def class_table(names: Sequence[str | None], target: Sequence[str]) -> np.ndarray:
    """Makes the table from a network's classes to a domain's.

    Args:
        names: what the network's classes are called in the domain, None for one that it does not
            have.
        target: names of the domain's K classes.

    Returns:
        (256,) uint8, the index in ``target`` for each of the network's classes; K for a class that
        the domain does not have, and for every value that is no class, such as 255.
    """
    table = np.full(256, len(target), np.uint8)
    table[: len(names)] = [target.index(name) if name in target else len(target) for name in names]
    return table


def merges(names: Sequence[str | None], target: Sequence[str]) -> bool:
    """Whether several of the network's classes are one of the domain's."""
    found = [name for name in names if name in target]
    return len(set(found)) < len(found)


def palette_of(count: int) -> tuple[tuple[int, int, int], ...]:
    """Makes as many different RGB colours, at most 255: equal steps around the circle of hues."""
    from matplotlib import colormaps  # takes a moment, and few networks need it

    hues = colormaps["hsv"](np.linspace(0, 1, count, endpoint=False), bytes=True)
    return tuple(tuple(map(int, colour[:3])) for colour in hues)


NONE = IGNORE
"""The value of a pixel in a network's output that it gives no class."""
