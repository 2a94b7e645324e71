"""Houses along a street: the kinds of houses, and the facets of one house.

Sizes are in metres.
"""

from __future__ import annotations

from typing import NamedTuple

from ibnseg.streets.objects import ID
from ibnseg.streets.scene import UP, Facet, Frame, Random, Vector, box, unit


class House(NamedTuple):
    """A kind of house."""

    material: str
    floors: tuple[int, int]  # fewest and most
    gabled: bool
    alone: bool  # does not touch the next house
    shop: float  # the chance of shop windows at the street


HOUSES = {
    "block": House("windows", (3, 7), False, False, 0.5),
    "office": House("panes", (4, 11), False, False, 0.4),
    "terrace": House("brickhouse", (3, 4), True, False, 0.15),
    "cottage": House("windows", (1, 2), True, True, 0.0),
}


def house(near: Vector, far: Vector, depth: float, kind: House, rng: Random) -> list[Facet]:
    """Builds a house along the street.

    Args:
        near, far: the points on the ground where its front begins and ends.
        depth: how far it reaches back from the street along X, negative to the left.
        kind: one of ``HOUSES``.
        rng: draws its height, colours and door.
    """
    label, tone, base = ID["building"], rng.random_sample(), min(near[1], far[1]) - 0.3
    near, far = (near[0], base, near[2]), (far[0], base, far[2])
    along, width = unit((far[0] - near[0], 0.0, far[2] - near[2]))
    back, depth = (1.0 if depth > 0 else -1.0, 0.0, 0.0), abs(depth)
    height = 3.0 * rng.randint(kind.floors[0], kind.floors[1] + 1) + 0.6
    surface, trim = (label, kind.material, tone), (label, "concrete", tone)
    front = Frame((near[0] - 0.12 * back[0], base, near[2]), back, along)
    if rng.random_sample() < kind.shop:
        entrance = (label, "shop", rng.random_sample()), box(0, width, 0.3, 3.5)
    else:
        door = width * rng.uniform(0.3, 0.6)
        entrance = (label, "planks", rng.random_sample()), box(door, door + 1.2, 0.3, 2.5)
    facets = [
        Facet(*surface, near, along, UP, box(0, width, 0, height)),
        *(Facet(*surface, end, back, UP, box(0, depth, 0, height)) for end in (near, far)),
        front.along(trim, box(0, width, height - 0.35, height)),
        front.along(trim, box(0, width, 0, 0.7)),
        front.along(*entrance),
    ]
    return facets + (_roof(near, along, back, width, depth, height, rng) if kind.gabled else [])


def _roof(near, along, back, width, depth, height, rng: Random) -> list[Facet]:
    """Builds a gable roof with its ridge along the street, and a chimney."""
    label, rise = ID["building"], min(depth * rng.uniform(0.3, 0.45), 4.0)
    up, length = unit((back[0] * depth / 2, rise, 0.0))
    eave = (near[0], near[1] + height, near[2])
    gable = ((0, height), (depth, height), (depth / 2, height + rise))
    a, stack = width * rng.uniform(0.2, 0.7), (near[0] + back[0] * depth * 0.4, *near[1:])
    chimney = box(a, a + 0.8, height + rise * 0.4, height + rise + 0.9)
    tiles = (label, "rooftiles", rng.random_sample())
    return [
        Facet(*tiles, eave, along, up, box(-0.3, width + 0.3, -0.5, length)),
        Facet(label, "concrete", 0.0, near, back, UP, gable),
        Facet(label, "brick", 0.0, stack, along, UP, chimney),
    ]
