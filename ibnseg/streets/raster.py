"""Rasterises a scene: finds the facet that each pixel sees, and the place on the facet.

Labels depend on sums, products, quotients, roots and OpenCV's integer polygon filling alone, which
give the same results on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import cv2
import numpy as np

from ibnseg.streets.scene import UP, Camera, Facet, Scene, Vector

NEAR = 0.7
"""The distance in metres ahead of the camera at which facets are cut off."""

_SHIFT = 4  # the fractional bits of corners
_FAR = 1 << 20  # further out than all corners in view, in 1/16 of a sample
_BEHIND = ((0.0, -2.0),) * 3  # pixels that see nothing else see the sky
_SKY = Facet(23, "sky", 0.0, (0.0, 900.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), _BEHIND)


class Shapes(NamedTuple):
    """The geometry of F facets with P corners in total, as arrays."""

    frames: np.ndarray  # (F, 3, 3) float64: right, up, origin
    corners: np.ndarray  # (P, 2) float64: a, b
    counts: np.ndarray  # (F,) number of corners of each facet

    def select(self, wanted: np.ndarray) -> Shapes:
        """Returns the facets that a (F,) mask selects."""
        corners = self.corners[np.repeat(wanted, self.counts)]
        return Shapes(self.frames[wanted], corners, self.counts[wanted])


class Raster(NamedTuple):
    """What the camera sees in any appearance; arrays are (H, W) unless stated otherwise."""

    scene: Scene
    facets: list[Facet]  # F of them, the sky first
    shapes: Shapes
    normals: np.ndarray  # (F, 3) float64, unit, towards the camera
    samples: np.ndarray  # (2H, 2W) uint16, indices of facets; pixel centres have even places
    numbers: np.ndarray  # intp, indices of facets at the centres of pixels
    labels: np.ndarray  # uint8, Cityscapes ids
    a: np.ndarray  # float32, the place on the facet in metres
    b: np.ndarray  # float32
    near: np.ndarray  # float32, 1 / Z
    step: np.ndarray  # float32, metres on the facet from one pixel to the next
    under: np.ndarray  # uint8, the share of the pixel that lies below things; 255 is all of it


def rasterise(scene: Scene, width: int, height: int) -> Raster:
    """Finds the nearest facet at four samples of each pixel."""
    facets = [_SKY, *scene.facets]
    shapes = _shapes(facets)
    inverse = _inverse(_to_screen(shapes.frames, scene.camera, width, height))
    samples = np.zeros((2 * height, 2 * width), np.uint16)
    nearest = np.zeros((2 * height, 2 * width), np.float32)  # 1 / Z
    covered = np.zeros((2 * height, 2 * width), np.uint8)
    planes = inverse[6:].T.tolist()
    us, vs = (np.arange(n, dtype=np.float32) / 2 for n in (2 * width, 2 * height))
    for i, polygon, (left, top, right, bottom) in _polygons(shapes, scene.camera, width, height):
        part = np.s_[top:bottom, left:right]
        covered[part] = 0
        cv2.fillPoly(covered, polygon, 1, shift=_SHIFT)
        per_u, per_v, constant = planes[i]
        depth = np.add.outer(per_v * vs[top:bottom], per_u * us[left:right] + constant)
        depth *= covered[part]
        wins = depth > nearest[part]
        np.copyto(nearest[part], depth, where=wins)
        np.copyto(samples[part], i, where=wins)
    numbers = samples[::2, ::2].astype(np.intp)
    labels = np.array([f.label for f in facets], np.uint8)[numbers]
    normals = _normals(shapes.frames, scene.camera)
    places = _places(inverse, numbers)
    under = np.rint(255 * _shadow(shapes, scene.camera, UP, width, height)).astype(np.uint8)
    return Raster(scene, facets, shapes, normals, samples, numbers, labels, *places, under)


def shadow(raster: Raster, sun: Vector) -> np.ndarray:
    """The share of each pixel that lies in the shadow of things, (H, W) float32 in [0, 1].

    The shadow of a thing is level and lies at the height of its foot.

    Args:
        raster: the scene.
        sun: unit vector towards the light; straight up gives the places where things stand.
    """
    height, width = raster.numbers.shape
    return _shadow(raster.shapes, raster.scene.camera, sun, width, height)


def _shadow(shapes: Shapes, camera: Camera, sun: Vector, width: int, height: int) -> np.ndarray:
    mask = np.zeros((2 * height, 2 * width), np.uint8)
    shapes = shapes.select(shapes.frames[:, 1, 1] > 0.5)
    slide = np.array([sun[0] / sun[1], 1.0, sun[2] / sun[1]])
    shapes.frames[:, 1] -= shapes.frames[:, 1, 1:2] * slide
    for _, polygon, _ in _polygons(shapes, camera, width, height):
        cv2.fillPoly(mask, polygon, 255, shift=_SHIFT)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)


def _shapes(facets: list[Facet]) -> Shapes:
    frames = np.fromiter(chain.from_iterable((*f.right, *f.up, *f.origin) for f in facets), float)
    points = chain.from_iterable(chain.from_iterable(f.outline for f in facets))
    counts = np.array([len(f.outline) for f in facets])
    return Shapes(frames.reshape(-1, 3, 3), np.fromiter(points, float).reshape(-1, 2), counts)


def _to_screen(frames: np.ndarray, camera: Camera, width: int, height: int) -> np.ndarray:
    """Projects frames to (F, 3, 3): rows right, up and origin, columns u Z, v Z and Z in pixels."""
    x, y, z = frames[..., 0], frames[..., 1], frames[..., 2]
    focal = camera.focal * width
    u = focal * x + (width - 1) / 2 * z
    v = camera.horizon * height * z - focal * y
    v[:, 2] += focal * camera.height
    return np.stack([u, v, z], axis=-1)


def _inverse(screen: np.ndarray) -> np.ndarray:
    """The matrices from (u, v, 1) to (a, b, 1) / Z, each in a column of (9, F) float32."""
    right, up, origin = screen[:, 0], screen[:, 1], screen[:, 2]
    rows = [np.cross(up, origin), np.cross(origin, right), np.cross(right, up)]
    product = rows[2] * origin
    determinant = product[:, 0] + product[:, 1] + product[:, 2]
    determinant = np.where(determinant == 0, np.inf, determinant)  # seen from the edge
    return (np.stack(rows, axis=1).reshape(-1, 9) / determinant[:, None]).T.astype(np.float32)


def _places(inverse: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """The place of each pixel on its facet, 1 / Z, and the metres from one pixel to the next."""
    v, u = np.ogrid[: numbers.shape[0], : numbers.shape[1]]
    u, v = u.astype(np.float32), v.astype(np.float32)
    m = [row.take(numbers) for row in inverse]
    a, b, near = (m[i] * u + m[i + 1] * v + m[i + 2] for i in (0, 3, 6))
    near = np.maximum(near, np.float32(1e-5))
    a, b = a / near, b / near
    da = np.abs(m[0] - a * m[6]) + np.abs(m[1] - a * m[7])
    db = np.abs(m[3] - b * m[6]) + np.abs(m[4] - b * m[7])
    return a, b, near, np.sqrt(da * db) / near


def _normals(frames: np.ndarray, camera: Camera) -> np.ndarray:
    normals = np.cross(frames[:, 0], frames[:, 1])
    away = (normals * (frames[:, 2] - np.array([0, camera.height, 0]))).sum(axis=1) > 0
    normals[away] *= -1
    return normals / np.sqrt((normals**2).sum(axis=1, keepdims=True))


def _polygons(shapes: Shapes, camera: Camera, width: int, height: int) -> Iterator[tuple]:
    """Yields for each facet in view its index, its corners (1, n, 2) int32 in 1/16 of a sample, and
    the bounds (left, top, right, bottom) of the samples that it may cover."""
    screen = _to_screen(shapes.frames, camera, width, height)
    ends = np.cumsum(shapes.counts)
    starts = ends - shapes.counts
    right, up, origin = (np.repeat(screen[:, i], shapes.counts, axis=0) for i in range(3))
    corners = (shapes.corners[:, :1] * right + shapes.corners[:, 1:] * up) + origin
    fixed = _fixed(corners)
    first, last = (f.reduceat(corners[:, 2], starts) for f in (np.minimum, np.maximum))
    low, high = (f.reduceat(fixed, starts) for f in (np.minimum, np.maximum))
    large = ((high - low) >> _SHIFT).any(axis=1)  # larger than a sample
    limits = np.array([2 * width, 2 * height])
    low, high = _samples(low, high, limits)
    seen = (last >= NEAR) & ((first < NEAR) | (large & (low < high).all(axis=1)))
    bounds = np.concatenate([low, high], axis=1).tolist()
    for i in np.flatnonzero(seen).tolist():
        polygon, bound = fixed[starts[i] : ends[i]], bounds[i]
        if first[i] < NEAR:
            polygon = _fixed(np.array(_cut(corners[starts[i] : ends[i]])))
            low, high = _samples(polygon.min(axis=0), polygon.max(axis=0), limits)
            bound = [*low, *high]
        if bound[0] < bound[2] and bound[1] < bound[3]:
            yield i, polygon[None], bound


def _samples(low: np.ndarray, high: np.ndarray, limits: np.ndarray) -> tuple:
    """The bounds of corners in samples of the picture."""
    return np.maximum(low >> _SHIFT, 0), np.minimum((high >> _SHIFT) + 2, limits)


def _fixed(corners: np.ndarray) -> np.ndarray:
    """Turns (n, 3) u Z, v Z, Z into (n, 2) int32 in 1/16 of a sample; corners behind the camera
    give meaningless values."""
    scaled = corners[:, :2] / np.maximum(corners[:, 2:], NEAR) * (2 << _SHIFT)
    return np.rint(scaled.clip(-_FAR, _FAR)).astype(np.int32)


def _cut(corners: np.ndarray) -> list[np.ndarray]:
    """Cuts off the part of a polygon that is nearer than NEAR (Sutherland and Hodgman, 1974)."""
    kept = []
    for p, q in zip(np.roll(corners, 1, axis=0), corners, strict=True):
        if (p[2] < NEAR) != (q[2] < NEAR):
            kept.append(p + (q - p) * ((NEAR - p[2]) / (q[2] - p[2])))
        if q[2] >= NEAR:
            kept.append(q)
    return kept
