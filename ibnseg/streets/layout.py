"""Draws a random street: its course, its cross-section, and the things along it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ibnseg.streets import objects
from ibnseg.streets.houses import HOUSES, house
from ibnseg.streets.objects import ID
from ibnseg.streets.scene import (
    UP,
    Camera,
    Facet,
    Frame,
    Lanes,
    Random,
    Scene,
    Surface,
    box,
    unit,
)

START, END = 0.5, 260.0
"""The distances in metres ahead of the camera between which there is a street."""

KNOTS = (START, 4, 8, 13, 19, 26, 34, 43, 54, 66, 80, 96, 115, 140, 175, 215, END)
"""The distances in metres ahead of the camera at which the street may bend."""


class District(NamedTuple):
    """The features of a part of a town: chances in [0, 1] and distances in metres."""

    chance: float  # of this district
    lanes: int  # the most lanes in each direction
    verge: float  # chance of a strip of grass with trees beside the road
    walk: float  # width of the sidewalk
    setback: float  # distance from the sidewalk to the houses
    houses: tuple[str, ...]
    gap: float  # chance of a gap instead of a house
    boundaries: tuple[str, ...]  # between sidewalk and house, or in a gap
    trees: float  # mean distance between trees
    tram: float  # chance of a tramway
    parked: float  # chance of a row of parked cars
    traffic: float  # mean distance between vehicles in a lane
    people: float  # mean distance between people on a sidewalk


DISTRICTS = (
    # chance, lanes, verge, walk, setback, houses, gap, boundaries, trees, tram, parked, traffic,
    # people
    District(0.4, 2, 0.2, 4.2, 0, ("block", "office"), 0.12, ("wall", "fence"),
             16, 0.45, 0.5, 24, 8),
    District(0.25, 1, 0.4, 3.2, 2, ("block", "terrace"), 0.2, ("fence", "wall", "hedge"),
             13, 0.25, 0.5, 28, 13),
    District(0.2, 1, 0.6, 2.4, 6, ("cottage", "terrace"), 0.3, ("fence", "hedge", "wall", "none"),
             10, 0.0, 0.35, 36, 20),
    District(0.15, 2, 0.9, 2.2, 10, ("cottage", "office"), 0.65, ("none", "wall", "fence", "hedge"),
             8, 0.2, 0.1, 28, 35),
)  # fmt: skip

# function, mean distance, place from the kerb (0) to the other side (1), slope of its random turns
FURNITURE = (
    (objects.street_lamp, 28, (0.12, 0.12), 0.1),
    (objects.traffic_sign, 24, (0.12, 0.2), 0.3),
    (objects.bicycle, 45, (0.15, 0.3), 3.0),
    (objects.motorcycle, 70, (0.15, 0.3), 3.0),
    (objects.litter_bin, 60, (0.1, 0.9), 0.3),
    (objects.bollard, 50, (0.08, 0.12), 0.0),
)

TRAFFIC = (  # function, chance
    (objects.car, 0.66),
    (objects.rider, 0.18),
    (objects.bus, 0.08),
    (objects.truck, 0.08),
)

BOUNDARIES = {  # class, materials, least height, greatest height, thickness
    "wall": ("wall", ("brick", "concrete"), 1.0, 2.6, 0.25),
    "fence": ("fence", ("planks", "bars"), 0.9, 1.9, 0.1),
    "hedge": ("vegetation", ("leaves",), 0.9, 2.0, 0.7),
}


class Street(NamedTuple):
    """A street, which is straight between its knots; ``d`` is the distance in metres to the right
    of its middle."""

    z: tuple[float, ...]  # the knots
    x: tuple[float, ...]  # of the street's middle at the knots
    y: tuple[float, ...]
    gaps: tuple[float, float]  # where a crossing begins and ends

    def frame(self, z: float, d: float, up: float = 0.0) -> Frame:
        """Returns a frame on the ground that faces along the street."""
        i = min(max(bisect_left(self.z, z), 1), len(self.z) - 1)
        (z0, z1), (x0, x1), (y0, y1) = (v[i - 1 : i + 1] for v in (self.z, self.x, self.y))
        t = (z - z0) / (z1 - z0)
        ahead, _ = unit((x1 - x0, 0.0, z1 - z0))
        origin = (x0 + t * (x1 - x0) + d, y0 + t * (y1 - y0) + up, z)
        return Frame(origin, (ahead[2], 0.0, -ahead[0]), ahead)

    def outside(self, z0: float, z1: float) -> list[tuple[float, float]]:
        """Returns the parts of an interval that lie before and behind the crossing."""
        parts = ((z0, min(self.gaps[0], z1)), (max(self.gaps[1], z0), z1))
        return [(a, b) for a, b in parts if b > a]

    def is_free(self, z: float, margin: float) -> bool:
        """Whether a place is further than ``margin`` from the crossing."""
        return not self.gaps[0] - margin < z < self.gaps[1] + margin

    def strip(self, surface: Surface, z0, z1, d0, d1, up: float = 0.0) -> Iterator[Facet]:
        """Yields level facets on the ground between two distances from the middle."""
        for start, ahead, a, b in self._pieces(z0, z1, 0, up):
            yield Facet(*surface, start, (1.0, 0.0, 0.0), ahead, box(*sorted((d0, d1)), a, b))

    def ribbon(self, surface: Surface, z0, z1, d, y0, y1) -> Iterator[Facet]:
        """Yields upright facets along the street."""
        for start, ahead, a, b in self._pieces(z0, z1, d, 0):
            yield Facet(*surface, start, ahead, UP, box(a, b, y0, y1))

    def _pieces(self, z0: float, z1: float, d: float, up: float) -> Iterator[tuple]:
        """Cuts an interval at the knots; yields the origin, the direction, the begin and the end of
        each piece."""
        for a, b in pairwise([z0, *(z for z in self.z if z0 < z < z1), z1]):
            (x0, y0, _), (x1, y1, _) = (self.frame(z, d, up).origin for z in (a, b))
            ahead, length = unit((x1 - x0, y1 - y0, b - a))
            start = (x0 - a * ahead[0], y0 - a * ahead[1], a - a * ahead[2])  # continues the tiles
            yield start, ahead, a, a + length


def draw_layout(seed: int) -> Scene:
    """Draws a street scene; a seed gives the same scene on every machine and for all
    appearances."""
    rng = Random(seed)
    district = DISTRICTS[rng.choice(len(DISTRICTS), p=[d.chance for d in DISTRICTS])]
    lanes, width = rng.randint(1, district.lanes + 1), rng.uniform(3.0, 3.5)
    half, ego = lanes * width, rng.uniform(0.35, 0.65) * width
    bend, crest, climb = (
        u * u * u * most
        for u, most in zip(rng.uniform(-1, 1, 3).tolist(), (1 / 300, 1 / 5000, 0.05), strict=True)
    )  # mostly small
    turn = rng.uniform(-0.05, 0.05)
    crossing = rng.uniform(14, 60) if rng.random_sample() < 0.45 else END
    xs = tuple(turn * z + bend * z * z - ego for z in KNOTS)
    ys = tuple(climb * z + crest * z * z for z in KNOTS)
    street = Street(KNOTS, xs, ys, (crossing, min(crossing + 2 * half + 5, END)))
    facets = list(_road(street, half, lanes, rng))
    for side in (-1, 1):
        facets += _roadside(street, district, side, half, rng)
    facets += _traffic(street, district, half, lanes, rng)
    facets += _backdrop(street.y[-1], rng)
    height = rng.uniform(2.0, 2.6) if rng.random_sample() < 0.12 else rng.uniform(1.15, 1.75)
    camera = Camera(height, rng.uniform(0.72, 1.05), rng.uniform(0.4, 0.52))
    sun, _ = unit((rng.uniform(-1, 1), rng.uniform(0.5, 1.1), rng.uniform(-0.9, 0.5)))
    edges = tuple(i * width for i in range(-lanes, lanes + 1))
    return Scene(camera, sun, facets, Lanes(edges, ego=lanes))


def _road(street: Street, half: float, lanes: int, rng: Random) -> Iterator[Facet]:
    road, paint = (ID["road"], "asphalt", 0), (ID["road"], "marking", 0)
    yield from street.strip(road, START, END, -half, half)
    solid = [0.0] * (rng.random_sample() < 0.35) + [0.2 - half, half - 0.2] * rng.randint(2)
    for d in solid:
        for z0, z1 in street.outside(START, 150):
            yield from street.strip(paint, z0, z1, d - 0.07, d + 0.07, 0.01)
    between = [lane * half / lanes for lane in range(1 - lanes, lanes)]
    for d in [d for d in between if d not in solid]:
        start = rng.uniform(1, 8)
        for z in (start + 9 * i for i in range(14)):
            if street.is_free(z + 2, 2):
                yield from street.strip(paint, z, z + 4, d - 0.07, d + 0.07, 0.01)
    near, far = street.gaps
    if near < END:
        for side in (-1, 1):
            yield from street.strip(road, near, far, side * half, side * 90)
        for z in (near - 4.2, far + 0.7):
            for d in (0.5 - half + i for i in range(math.ceil(2 * half - 1))):
                yield from street.strip(paint, z, z + 3.0, d, d + 0.5, 0.012)
        yield from street.strip(paint, near - 5.6, near - 5.2, 0.1, half - 0.1, 0.012)


def _walk(rng: Random, start, end, mean: float, least: float = 1.0) -> Iterator[float]:
    """Yields places at random distances with a given mean; none are closer than ``least``."""
    z = start + rng.uniform(0, mean)
    while z < end:
        yield z
        z += least + 2 * (mean - least) * rng.random_sample()


def _roadside(street: Street, district: District, side: int, half: float, rng: Random):
    """Yields everything on one side (-1 left, 1 right), from the road outwards; each part begins
    where the previous one ends."""
    d = half
    for part in (_parking, _track_or_verge, _sidewalk):
        facets, d = part(street, district, side, d, rng)
        yield from facets
    yield from _fronts(street, district, side, d, rng)


def _band(street: Street, name: str, material: str, side: int, d, width, up) -> list[Facet]:
    """Draws a band of ground along the street, from ``d`` outwards."""
    surface, outer = (ID[name], material, 0), side * (d + width)
    parts = street.outside(START, END)
    return [f for z0, z1 in parts for f in street.strip(surface, z0, z1, side * d, outer, up)]


def _parking(street: Street, district: District, side: int, d: float, rng: Random):
    if rng.random_sample() >= district.parked:
        return [], d
    facets = _band(street, "parking", "bay", side, d, 2.2, 0.0)
    for z in _walk(rng, 5, 110, 9, least=5.3):
        if street.is_free(z, 7):
            frame = street.frame(z, side * (d + 1.1))
            facets += objects.car(frame if side > 0 else frame.reversed(), rng)
    return facets, d + 2.2


def _track_or_verge(street: Street, district: District, side: int, d: float, rng: Random):
    """Draws a kerb, and behind it a tramway, a strip of grass with trees, or nothing."""
    facets, kerb = [], (ID["sidewalk"], "curb", 0)
    for z0, z1 in street.outside(START, END):
        facets += street.ribbon(kerb, z0, z1, side * d, 0, 0.12)
    if side > 0 and rng.random_sample() < district.tram:
        facets += _band(street, "rail track", "gravel", side, d, 3.4, 0.1)
        for rail in (d + 0.95, d + 2.4):
            surface = (ID["rail track"], "steel", 0.9)
            facets += street.strip(surface, START, END, rail, rail + 0.1, 0.13)
        for z in _walk(rng, 12, 110, 60, least=35):
            tone = rng.random_sample()
            for car in range(rng.randint(2, 4)):
                facets += objects.tram(street.frame(z + 10.2 * car, d + 1.7, 0.1), tone)
        return facets, d + 3.4
    if rng.random_sample() >= district.verge:
        return facets, d
    width = rng.uniform(1.4, 2.6)
    facets += _band(street, "terrain", "grass", side, d, width, 0.11)
    for z in _walk(rng, 6, 120, district.trees):
        if street.is_free(z, 2):
            facets += objects.tree(street.frame(z, side * (d + width - 0.8), 0.11), rng)
    return facets, d + width


def _sidewalk(street: Street, district: District, side: int, d: float, rng: Random):
    """Draws a sidewalk, and the people and things on it."""
    width = district.walk * rng.uniform(0.8, 1.3)
    facets = _band(street, "sidewalk", "paving", side, d, width, 0.12)
    rows = [*FURNITURE, (objects.person, district.people, (0.2, 0.95), 0.0)]
    if rng.random_sample() < 0.4:
        rows.append((objects.tree, district.trees, (0.22, 0.22), 0.0))
    places = [
        (make, z, across, turn)
        for make, mean, across, turn in rows
        for z in _walk(rng, 6, 110, mean)
        if street.is_free(z, 2)
    ]
    if street.gaps[0] < END:
        lights = (street.gaps[0] - 5, street.gaps[1] + 0.5)
        places += [(objects.traffic_light, z, (0.15, 0.15), 0.3) for z in lights]
    for make, z, across, turn in places:
        frame = street.frame(z, side * (d + width * rng.uniform(*across)), 0.12)
        facing = frame.mirrored() if side > 0 else frame  # the road is to its right
        facets += make(facing.turned(rng.uniform(-turn, turn)), rng)
    return facets, d + width


def _fronts(street: Street, district: District, side: int, d: float, rng: Random):
    """Draws houses, and what lies in the gaps and between the houses and the sidewalk."""
    setback = district.setback * rng.uniform(0.7, 1.5)
    name, material = ("terrain", "grass") if setback else ("sidewalk", "paving")
    kinds = rng.choice(district.houses, 2)
    for start, end in street.outside(START, END):
        yield from street.strip((ID[name], material, 0), start, end, side * d, side * 120.0, 0.1)
    for start, end in street.outside(2.0, 190):
        z = start + rng.uniform(0, 4)
        while z < end - 5:
            kind = HOUSES[kinds[rng.randint(2)]]
            last = min(z + (rng.uniform(8, 13) if kind.gabled else rng.uniform(10, 22)), end - 0.5)
            gap = rng.random_sample() < district.gap
            if gap:
                yield from _plants(objects.tree, street, (z, last), side, (d + 2, d + 22), 6, rng)
            else:
                front = side * (d + setback + rng.uniform(0, 0.6))
                near, far = (street.frame(v, front).origin for v in (z, last))
                yield from house(near, far, side * rng.uniform(9, 14), kind, rng)
            if gap or setback > 1.5:
                what = rng.choice(district.boundaries)
                yield from _boundary(street, what, z, last, side * (d + 0.1), side, rng)
            if setback > 1.5:
                garden = (d + 1, d + setback)
                yield from _plants(objects.bush, street, (z, last), side, garden, 4, rng)
            z = last + (rng.uniform(2, 7) if kind.alone else 0.0)


def _plants(make, street: Street, span, side: int, depth, most: int, rng: Random):
    for _ in range(rng.randint(0, most)):
        frame = street.frame(rng.uniform(*span), side * rng.uniform(*depth), 0.1)
        yield from make(frame, rng)


def _boundary(street: Street, what: str, z0, z1, d, side: int, rng: Random) -> Iterator[Facet]:
    if what in BOUNDARIES:
        name, materials, low, high, thick = BOUNDARIES[what]
        surface = (ID[name], rng.choice(materials), rng.random_sample())
        height, outer = rng.uniform(low, high), d + side * thick
        yield from street.ribbon(surface, z0, z1, d, 0, height)
        yield from street.strip(surface, z0, z1, d, outer, height)
        yield street.frame(z0, d).across(surface, box(*sorted((0.0, side * thick)), 0, height))


def _traffic(street: Street, district: District, half: float, lanes: int, rng: Random):
    """Draws the vehicles on the road, and the people and vehicles that cross it."""
    makes, chances = zip(*TRAFFIC, strict=True)
    width = half / lanes
    for lane in range(-lanes, lanes):
        for z in _walk(rng, 13 if lane == 0 else 6, 170, district.traffic, least=14):
            make = makes[rng.choice(len(makes), p=chances)]
            d = (lane + 0.5) * width + rng.uniform(-0.3, 0.3)
            frame = street.frame(z, d)
            yield from make(frame if lane >= 0 else frame.reversed(), rng)
    near, far = street.gaps
    if near < END:
        for _ in range(rng.randint(0, 5)):
            frame = street.frame(near - rng.uniform(1.5, 4), rng.uniform(-half, half))
            yield from objects.person(frame, rng)
        for side in (-1, 1):
            make = makes[rng.choice(len(makes), p=chances)]
            z, d = near + (far - near) * (0.5 + 0.2 * side), side * rng.uniform(7, 30)
            yield from make(street.frame(z, d).turned(30 * side), rng)


def _backdrop(base: float, rng: Random) -> Iterator[Facet]:
    """Draws woods and tall buildings in the far distance."""
    tops = base + 9 + np.abs(np.cumsum(rng.uniform(-2.5, 2.5, 41)))
    outline = [*zip(np.linspace(-320, 320, 41).tolist(), tops.tolist(), strict=True)]
    ends = [(320.0, -90.0), (-320.0, -90.0)]
    frame = Frame((0.0, 0.0, END + 4))
    yield frame.across((ID["vegetation"], "backdrop", 0), (*outline, *ends))
    for _ in range(rng.randint(2, 12)):
        x, width, height = rng.uniform(-200, 200), rng.uniform(10, 35), rng.uniform(8, 40)
        surface = (ID["building"], "windows", rng.random_sample())
        yield frame.across(surface, box(x, x + width, base - 20, base + height), -2)
