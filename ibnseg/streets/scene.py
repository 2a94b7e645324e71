"""A street scene as data: a camera, a sun, and flat facets in space that have a class and a
material.

X points to the right, Y up and Z ahead, in metres; the road under the camera has Y = 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Vector = tuple[float, float, float]
Outline = tuple[tuple[float, float], ...]
Surface = tuple[int, str, float]  # Cityscapes id, material, tone
RIGHT, UP, AHEAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class Random(np.random.RandomState):
    """NumPy's frozen random generator; it draws the same numbers on every machine."""

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | tuple | None = None):
        # NumPy's own is C code, which some compilers fuse into a step that is rounded differently
        return low + (high - low) * self.random_sample(size)


class Facet(NamedTuple):
    """A polygon in a plane, whose points are ``origin + a * right + b * up``."""

    label: int  # Cityscapes id
    material: str  # a row of materials.csv
    tone: float  # in [0, 1), chooses one of the material's colours
    origin: Vector
    right: Vector
    up: Vector
    outline: Outline  # the corners (a, b)


class Camera(NamedTuple):
    """A pinhole camera that looks along Z; its lens is shifted, not tilted, so upright lines stay
    upright."""

    height: float  # metres above the road
    focal: float  # focal length in widths of the image
    horizon: float  # its distance from the top of the image, in heights of the image


class Lanes(NamedTuple):
    """The lanes of the road, whose edges are in the same unit as ``a`` of the road's facets."""

    edges: tuple[float, ...] = ()  # metres to the right of the street's middle, from left to right
    ego: int = 0  # the index of the camera's lane, from the left


class Scene(NamedTuple):
    """A street scene."""

    camera: Camera
    sun: Vector  # unit vector towards the sun
    facets: list[Facet]
    lanes: Lanes = Lanes()


class Frame(NamedTuple):
    """The place and direction of a thing: its origin, and unit vectors to its right and ahead."""

    origin: Vector
    right: Vector = RIGHT
    ahead: Vector = AHEAD

    def point(self, x: float, y: float, z: float) -> Vector:
        """Returns the point ``x`` to the right, ``y`` above and ``z`` ahead of the origin."""
        (ox, oy, oz), (rx, _, rz), (ax, _, az) = self
        return (ox + x * rx + z * ax, oy + y, oz + x * rz + z * az)

    def turned(self, slope: float) -> Frame:
        """Returns the frame turned by ``slope`` units to the right for each unit ahead."""
        (rx, _, rz), (ax, _, az) = self.right, self.ahead
        right, _ = unit((rx - slope * ax, 0.0, rz - slope * az))
        ahead, _ = unit((ax + slope * rx, 0.0, az + slope * rz))
        return Frame(self.origin, right, ahead)

    def reversed(self) -> Frame:
        """Returns the frame that faces the other way."""
        (rx, _, rz), (ax, _, az) = self.right, self.ahead
        return Frame(self.origin, (-rx, 0.0, -rz), (-ax, 0.0, -az))

    def mirrored(self) -> Frame:
        """Returns the frame with right and left exchanged."""
        (rx, _, rz) = self.right
        return self._replace(right=(-rx, 0.0, -rz))

    def across(self, surface: Surface, outline: Outline, z: float = 0.0) -> Facet:
        """Makes an upright facet across the direction ahead, ``z`` ahead of the origin."""
        return Facet(*surface, self.point(0, 0, z), self.right, UP, outline)

    def along(self, surface: Surface, outline: Outline, x: float = 0.0) -> Facet:
        """Makes an upright facet along the direction ahead, ``x`` to the right of the origin."""
        return Facet(*surface, self.point(x, 0, 0), self.ahead, UP, outline)


def unit(v: Vector) -> tuple[Vector, float]:
    """Returns the direction and the length of a vector.

    Raises:
        ZeroDivisionError: if the length is 0.
    """
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return (v[0] / length, v[1] / length, v[2] / length), length


CIRCLE = tuple(
    (round(math.cos(math.pi * i / 8), 6), round(math.sin(math.pi * i / 8), 6)) for i in range(16)
)
"""The corners of a regular polygon, rounded so that they are equal on every machine."""


def box(a0: float, a1: float, b0: float, b1: float) -> Outline:
    """The outline of a rectangle."""
    return ((a0, b0), (a1, b0), (a1, b1), (a0, b1))


def disc(a: float, b: float, radius: float, height: float | None = None) -> Outline:
    """The outline of a circle, or of an ellipse if ``height``, its vertical radius, is given."""
    return tuple((a + radius * x, b + (height or radius) * y) for x, y in CIRCLE)


def limb(a0: float, b0: float, a1: float, b1: float, width: float) -> Outline:
    """The outline of a straight bar from (a0, b0) to (a1, b1)."""
    (x, y, _), _ = unit((b1 - b0, a0 - a1, 0.0))
    x, y = x * width / 2, y * width / 2
    return ((a0 - x, b0 - y), (a0 + x, b0 + y), (a1 + x, b1 + y), (a1 - x, b1 - y))
