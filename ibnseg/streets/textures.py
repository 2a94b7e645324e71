"""Materials, from a table of tiles and colours (materials.csv), and the tiles themselves.

A tile has three channels: *shade* multiplies the colour, *mix* blends a material's first colour
into its second, *glow* is the light that it gives at night.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import cv2
import numpy as np

from ibnseg.streets.scene import Random

SIZE = 64
"""The number of texels along a tile."""

LEVELS = 7
"""The number of resolutions of each tile, SIZE, SIZE / 2, ..., 1 texels, so that distant surfaces
do not flicker."""

RGB = tuple[int, ...]
Tile = tuple[np.ndarray, np.ndarray, np.ndarray]


class Material(NamedTuple):
    """A material: its tile, and its colours in a clean and in a weathered world."""

    tile: str
    period: float  # the metres that a tile covers
    virtual: list[tuple[RGB, RGB]]  # pairs of first and second colour; the tone chooses one
    real: list[tuple[RGB, RGB]]
    glow: RGB  # the colour of its light at night


def _pairs(text: str) -> list[tuple[RGB, RGB]]:
    pairs = [[tuple(bytes.fromhex(rgb)) for rgb in pair.split("/")] for pair in text.split()]
    return [(pair[0], pair[-1]) for pair in pairs]


def _read_materials() -> dict[str, Material]:
    with (files("ibnseg.streets") / "materials.csv").open() as file:
        return {
            row["material"]: Material(
                row["tile"],
                float(row["period"]),
                _pairs(row["virtual"]),
                _pairs(row["real"]),
                tuple(bytes.fromhex(row["glow"] or "000000")),
            )
            for row in csv.DictReader(file)
        }


MATERIALS = _read_materials()


@lru_cache(maxsize=2)
def atlas(weathered: bool) -> np.ndarray:
    """All tiles at all levels, (tiles * LEVELS * SIZE * SIZE, 3) float32; a shade of 1 is neutral.

    Args:
        weathered: whether surfaces are irregular instead of clean patterns.
    """
    tiles = []
    for number, (draw, worn_shade, worn_mix) in enumerate(TILES.values()):
        shade, mix, glow = draw(Random(number))
        if weathered:
            worn = 0.5 * _noise(Random(100 + number), 9) + 0.35 * _noise(Random(200 + number), 3)
            shade, mix = shade * (1 + worn_shade * worn), mix + worn_mix * worn
        channels = np.stack([128 * shade, 255 * mix, 255 * glow], axis=-1)
        texels = channels.clip(0, 255).astype(np.uint8)
        tiles.append(texels)
        for level in range(1, LEVELS):
            four = texels.astype(np.uint16)
            four = four[::2] + four[1::2]
            texels = ((four[:, ::2] + four[:, 1::2] + 2) >> 2).astype(np.uint8)
            tiles.append(texels.repeat(1 << level, 0).repeat(1 << level, 1))
    return np.stack(tiles).reshape(-1, 3) / np.array((128, 255, 255), np.float32)


_B, _A = np.mgrid[0:SIZE, 0:SIZE] / SIZE  # texel coordinates: upwards, to the right
_ONE, _ZERO = np.ones((SIZE, SIZE)), np.zeros((SIZE, SIZE))


def _noise(rng: Random, sigma: float) -> np.ndarray:
    """Noise in [-1, 1], (SIZE, SIZE), that continues across the borders, with grains of ``sigma``
    texels."""
    white = np.tile(rng.randint(0, 1 << 16, (SIZE, SIZE)).astype(np.uint16), (3, 3))
    smooth = cv2.GaussianBlur(white, (0, 0), sigma)[SIZE:-SIZE, SIZE:-SIZE].astype(np.int64)
    smooth -= smooth.sum() // smooth.size
    return smooth / np.abs(smooth).max()


def _rough(depth: float, fine: float, spread: float, coarse: float) -> Callable[[Random], Tile]:
    """Draws a surface of grains, in which two colours are mixed."""
    return lambda rng: (
        1 + depth * _noise(rng, fine),
        (0.5 + spread * _noise(rng, coarse)).clip(0, 1),
        _ZERO,
    )


def _clouds(rng: Random) -> Tile:
    density = _noise(rng, 7) + 0.5 * _noise(rng, 3) + 0.25 * _noise(rng, 1.2)
    return _ONE, (1.6 * density + 0.1).clip(0, 1), _ZERO


def _joints(across: int, up: int, width: float, dark: float, shift: float = 0):
    """Draws pieces in rows and columns (none if 0), with joints of the second colour between
    them."""

    def draw(rng: Random) -> Tile:
        row = np.floor(_B * up)
        upright = (_A * across + shift * (row % 2)) % 1 < width if across else False
        joint = upright | (_B * up % 1 < width if up else False)
        return np.where(joint, dark, 1 + 0.07 * _noise(rng, 1.2)), 1.0 * joint, _ZERO

    return draw


def _roof(rng: Random) -> Tile:
    return 0.84 + 0.3 * (_B * 8 % 1), 0.5 + 0.5 * _noise(rng, 1), _ZERO


def _panes(count: int, left: float, low: float, high: float, lit: float, courses: int = 1):
    """Draws windows in ``count`` rows and columns; they have frames, some have blinds, and the
    share ``lit`` glows at night."""

    def draw(rng: Random) -> Tile:
        x, y = _A * count % 1, _B * count % 1
        pane = (x > left) & (x < 1 - left) & (y > low) & (y < high)
        frame = (x > left - 0.07) & (x < 1.07 - left) & (y > low - 0.07) & (y < high + 0.05)
        lights, blinds = (
            rng.random_sample((count, count)).repeat(SIZE // count, 0).repeat(SIZE // count, 1)
            for _ in range(2)
        )
        drawn = (y > low + 0.6 * (high - low)) & (blinds < 0.35)
        wall = np.where(_B * courses % 1 < 0.5, 0.92, 1) if courses > 1 else _ONE
        shade = np.where(pane, 0.8 + 0.5 * y, np.where(frame, 1.22, wall))
        glow = pane * (lights < lit) * (0.4 + 0.6 * blinds)
        return shade, pane * np.where(drawn, 0.35, 1.0), glow

    return draw


TILES: dict[str, tuple[Callable[[Random], Tile], float, float]] = {
    "plain": (lambda rng: (_ONE, _ZERO, _ONE), 0.12, 0),
    "grain": (_rough(0.08, 0.7, 0.5, 5), 0.4, 0.25),
    "leaves": (_rough(0.3, 1.2, 1.0, 2), 0.4, 0.25),
    "clouds": (_clouds, 0.12, 0),
    "slabs": (_joints(4, 4, 0.07, 0.82), 0.4, 0),
    "bricks": (_joints(4, 8, 0.16, 1.0, shift=0.5), 0.4, 0),
    "planks": (_joints(8, 0, 0.16, 0.7), 0.4, 0),
    "bars": (_joints(8, 1, 0.5, 1.0), 0.4, 0),
    "rows": (_roof, 0.4, 0),
    "windows": (_panes(4, 0.28, 0.28, 0.8, 0.2), 0.4, 0),
    "panes": (_panes(4, 0.1, 0.22, 0.94, 0.25), 0.4, 0),
    "brickhouse": (_panes(4, 0.3, 0.3, 0.78, 0.2, courses=32), 0.4, 0),
    "shop": (_panes(2, 0.08, 0.12, 0.74, 1.0), 0.4, 0),
}
"""For each tile the function that draws its shade, mix and glow, each (SIZE, SIZE), and how much
weather changes its shade and its mix."""

TILE_NUMBERS = {name: number for number, name in enumerate(TILES)}
