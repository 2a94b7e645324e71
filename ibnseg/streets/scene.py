"""A street scene is data: a camera, a sun, and plane facets in space, each with a class and a
material.

X points to the right, Y up, Z ahead; metres; the road under the camera has Y = 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Vector = tuple[float, float, float]
Outline = tuple[tuple[float, float], ...]
Surface = tuple[int, str, float]
RIGHT, UP, AHEAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class Random(np.random.RandomState):
    """NumPy's generator that never changes; what it draws is the same on every machine."""

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | tuple | None = None):
        # NumPy's own is C, which some compilers turn into a fused, differently rounded step
        return low + (high - low) * self.random_sample(size)


class Facet(NamedTuple):
    """A polygon in a plane, whose points are ``origin + a * right + b * up``."""

    label: int  # Cityscapes id
    material: str  # a row of materials.csv
    tone: float  # in [0, 1): which of the material's colours
    origin: Vector
    right: Vector
    up: Vector
    outline: Outline  # (a, b) of its corners


class Camera(NamedTuple):
    """A pinhole looking along Z, with a shifted lens instead of a tilt: upright stays upright."""

    height: float  # metres above the road
    focal: float  # in widths of the image
    horizon: float  # of eye height, in heights of the image from the top


class Lanes(NamedTuple):
    """How the road is divided; the facets of the road have these distances as their ``a``."""

    edges: tuple[float, ...] = ()  # metres to the right of the street's middle, from left to right
    ego: int = 0  # the lane that the camera is in, from the left


class Scene(NamedTuple):
    camera: Camera
    sun: Vector  # unit vector towards it
    facets: list[Facet]
    lanes: Lanes = Lanes()


class Frame(NamedTuple):
    """Where a thing stands and which way it faces: unit vectors to its right and ahead."""

    origin: Vector
    right: Vector = RIGHT
    ahead: Vector = AHEAD

    def point(self, x: float, y: float, z: float) -> Vector:
        """The point ``x`` to the right, ``y`` above and ``z`` ahead of the origin."""
        (ox, oy, oz), (rx, _, rz), (ax, _, az) = self
        return (ox + x * rx + z * ax, oy + y, oz + x * rz + z * az)

    def turned(self, slope: float) -> Frame:
        """The frame turned so that it goes ``slope`` to the right for each unit ahead."""
        (rx, _, rz), (ax, _, az) = self.right, self.ahead
        right, _ = unit((rx - slope * ax, 0.0, rz - slope * az))
        ahead, _ = unit((ax + slope * rx, 0.0, az + slope * rz))
        return Frame(self.origin, right, ahead)

    def reversed(self) -> Frame:
        """The frame that faces the other way."""
        (rx, _, rz), (ax, _, az) = self.right, self.ahead
        return Frame(self.origin, (-rx, 0.0, -rz), (-ax, 0.0, -az))

    def mirrored(self) -> Frame:
        """The frame with right and left exchanged."""
        (rx, _, rz) = self.right
        return self._replace(right=(-rx, 0.0, -rz))

    def across(self, surface: Surface, outline: Outline, z: float = 0.0) -> Facet:
        """An upright facet across the direction ahead, ``z`` further on."""
        return Facet(*surface, self.point(0, 0, z), self.right, UP, outline)

    def along(self, surface: Surface, outline: Outline, x: float = 0.0) -> Facet:
        """An upright facet along the direction ahead, ``x`` to the right."""
        return Facet(*surface, self.point(x, 0, 0), self.ahead, UP, outline)


def unit(v: Vector) -> tuple[Vector, float]:
    """A vector's direction and length."""
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return (v[0] / length, v[1] / length, v[2] / length), length


CIRCLE = tuple(
    (round(math.cos(math.pi * i / 8), 6), round(math.sin(math.pi * i / 8), 6)) for i in range(16)
)
"""Corners of a regular polygon; rounded, so that every machine has the same."""


def box(a0: float, a1: float, b0: float, b1: float) -> Outline:
    """The outline of a rectangle."""
    return ((a0, b0), (a1, b0), (a1, b1), (a0, b1))


def disc(a: float, b: float, radius: float, height: float | None = None) -> Outline:
    """The outline of a circle, or of an ellipse of another half height."""
    return tuple((a + radius * x, b + (height or radius) * y) for x, y in CIRCLE)


def limb(a0: float, b0: float, a1: float, b1: float, width: float) -> Outline:
    """The outline of a bar from one point to another."""
    (x, y, _), _ = unit((b1 - b0, a0 - a1, 0.0))
    x, y = x * width / 2, y * width / 2
    return ((a0 - x, b0 - y), (a0 + x, b0 + y), (a1 + x, b1 + y), (a1 - x, b1 - y))
