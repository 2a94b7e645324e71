"""Renders a scene in one of the appearances of a table, which set light, air and camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ibnseg.streets.raster import Raster, shadow
from ibnseg.streets.scene import Random
from ibnseg.streets.textures import LEVELS, MATERIALS, SIZE, TILE_NUMBERS, atlas

Range = tuple[float, float]
WET = ("asphalt", "marking", "paving", "bay", "gravel")
GROUND = (*WET, "grass", "curb")
"""Materials on which shadows fall; rain makes those in ``WET`` shine."""


class RenderSettings(NamedTuple):
    """How one appearance is rendered; each image draws its own value from every range."""

    weathered: bool = True  # the colours and textures of the real world
    sun: Range = (0.0, 0.0)  # the light of the sun, added to that of the sky
    sky: tuple[float, float, float] = (1.0, 1.0, 1.0)  # the light of the sky, RGB
    warm: tuple[float, float, float] = (1.0, 1.0, 1.0)  # the colour of the sun, RGB
    zenith: tuple[int, int, int] | None = None  # the colour of the sky; its material's if None
    air: tuple[int, int, int] = (196, 202, 204)  # the colour of what is far away
    # the odds of air to things at a distance of 100 m; they grow with the distance, which is much
    # like exp(-distance), but rounded in the same way on every machine
    haze: Range = (0.0, 0.0)
    lamps: float = 0.0  # how strongly lamps and windows glow
    beams: float = 0.0  # the light of the camera car's headlights
    wet: float = 0.0  # how strongly the road mirrors
    exposure: Range = (1.0, 1.0)
    balance: float = 0.0  # the spread of the white balance
    saturation: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    noise: Range = (0.0, 0.0)  # standard deviation in grey levels
    blur: Range = (0.0, 0.0)  # standard deviation in pixels
    vignette: Range = (0.0, 0.0)  # the share of light that the corners lose
    quality: Range | None = None  # the quality of JPEG; not compressed if None


_CAMERA = dict(balance=0.06, noise=(2, 6), blur=(0.3, 0.8), vignette=(0.1, 0.35), quality=(55, 90))
APPEARANCES = {
    "virtual": RenderSettings(
        weathered=False, sun=(0.35, 0.95), sky=(0.54, 0.58, 0.68), warm=(1.0, 0.95, 0.84),
        air=(176, 206, 240), haze=(0.05, 0.5), exposure=(0.75, 1.25), balance=0.05,
        saturation=(0.9, 1.15), contrast=(1.0, 1.15),
    ),
    "real": RenderSettings(
        sun=(0.0, 0.6), sky=(0.9, 0.93, 0.91), warm=(1.0, 0.96, 0.86), haze=(0.2, 0.9),
        exposure=(0.75, 1.35), saturation=(0.65, 0.95), contrast=(0.8, 1.05), **_CAMERA,
    ),
    "dusk": RenderSettings(
        sun=(0.1, 0.3), sky=(0.46, 0.43, 0.5), warm=(1.0, 0.62, 0.36), zenith=(98, 108, 150),
        air=(214, 150, 118), haze=(0.4, 1.0), lamps=0.5, exposure=(0.7, 1.1), **_CAMERA,
    ),
    "fog": RenderSettings(
        sky=(0.82, 0.84, 0.86), zenith=(190, 194, 198), air=(194, 198, 202), haze=(4.0, 10.0),
        lamps=0.15, exposure=(0.8, 1.0), saturation=(0.6, 0.8), **_CAMERA,
    ),
    "night": RenderSettings(
        sky=(0.2, 0.21, 0.28), zenith=(12, 15, 32), air=(34, 36, 52), haze=(0.2, 0.5), lamps=0.85,
        beams=1.0, exposure=(0.8, 1.2), **{**_CAMERA, "noise": (5, 10)},
    ),
    "rain": RenderSettings(
        sky=(0.6, 0.63, 0.67), zenith=(128, 134, 140), air=(150, 156, 162), haze=(0.8, 2.0),
        lamps=0.25, wet=0.5, exposure=(0.7, 1.0), saturation=(0.6, 0.8),
        **{**_CAMERA, "blur": (0.6, 1.2)},
    ),
}  # fmt: skip


def render(raster: Raster, name: str, seed: int) -> np.ndarray:
    """Renders a picture of a scene, (H, W, 3) uint8 RGB.

    Args:
        raster: the scene as the camera sees it.
        name: one of ``APPEARANCES``.
        seed: decides what differs between pictures in one appearance.
    """
    settings = APPEARANCES[name]
    rng = Random([seed, list(APPEARANCES).index(name)])
    color, glow = _surface(raster, settings.weathered)
    color *= _light(raster, settings, rng.uniform(*settings.sun))
    if settings.lamps:
        glow *= settings.lamps
        color += (255 - color) * (glow / 255)
    if settings.zenith is not None:
        color[raster.numbers == 0] = settings.zenith
    odds = rng.uniform(*settings.haze) / 100 / raster.near
    odds[raster.numbers == 0] *= 0.15  # the air is thinner above
    color += (np.array(settings.air, np.float32) - color) * (odds / (1 + odds))[..., None]
    color = _antialiased(color, raster.samples)
    if settings.wet:
        color = _rained_on(color, raster, settings.wet, rng)
    if settings.lamps:
        bright = glow.clip(0, 255).astype(np.uint8)
        color += 0.8 * cv2.GaussianBlur(bright, (0, 0), 3).astype(np.float32)
    return _photograph(color, settings, rng)


def _surface(raster: Raster, weathered: bool) -> tuple[np.ndarray, np.ndarray]:
    """The colours of the facets in plain light, and their glow, each (H, W, 3) float32."""
    materials = [MATERIALS[f.material] for f in raster.facets]
    tones = [m.real if weathered else m.virtual for m in materials]
    chosen = [t[int(f.tone * len(t))] for t, f in zip(tones, raster.facets, strict=True)]
    pairs = np.array(chosen, np.float32)
    glows = np.array([m.glow for m in materials], np.float32)
    density = np.array([SIZE / m.period for m in materials], np.float32).take(raster.numbers)
    start = np.array([TILE_NUMBERS[m.tile] * LEVELS for m in materials]).take(raster.numbers)
    per_pixel = raster.step * density
    level = sum((per_pixel > 1 << k).astype(np.intp) for k in range(LEVELS - 1))
    column = np.floor(raster.a * density).astype(np.intp) & (SIZE - 1)
    row = np.floor(raster.b * density).astype(np.intp) & (SIZE - 1)
    texel = atlas(weathered).take(((start + level) * SIZE + row) * SIZE + column, axis=0)
    first, change = (
        c.take(raster.numbers, axis=0) for c in (pairs[:, 0], pairs[:, 1] - pairs[:, 0])
    )
    change *= texel[..., 1:2]
    first += change
    first *= texel[..., :1]
    return first, glows.take(raster.numbers, axis=0) * texel[..., 2:]


def _light(raster: Raster, settings: RenderSettings, sun: float) -> np.ndarray:
    """The light that falls on each pixel, (H, W, 3) float32."""
    facing = raster.normals * np.array(raster.scene.sun)
    direct = (sun * (facing[:, 0] + facing[:, 1] + facing[:, 2]).clip(0)).astype(np.float32)
    direct = direct.take(raster.numbers)
    ground = _is(raster, GROUND)
    if sun > 0:
        direct *= 1 - ground * shadow(raster, raster.scene.sun)
    under = cv2.GaussianBlur(raster.under, (9, 5), 0)
    upward = (0.8 + 0.2 * raster.normals[:, 1].clip(0)).astype(np.float32).take(raster.numbers)
    upward *= 1 - ground * under * np.float32(0.5 / 255)
    light = upward[..., None] * np.array(settings.sky, np.float32)
    light += direct[..., None] * np.array(settings.warm, np.float32)
    if settings.beams:
        light += settings.beams * _beams(raster.near)[..., None]
    light[raster.numbers == 0] = 1  # the sky has its own light
    return light


def _is(raster: Raster, materials: tuple[str, ...]) -> np.ndarray:
    """1 if a pixel sees one of some materials, otherwise 0: (H, W) float32."""
    return np.array([f.material in materials for f in raster.facets], np.float32).take(
        raster.numbers
    )


def _beams(near: np.ndarray) -> np.ndarray:
    """The light of the camera car's headlights, (H, W) float32."""
    height, width = near.shape
    u = np.linspace(-1, 1, width, dtype=np.float32)
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - 0.25
    cone = 1 / (1 + 4 * u * u) / (1 + 10 * v * v)
    return cone / (1 + (1 / (18 * near)) ** 2) * 1.6


def _antialiased(color: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Averages the colours of each pixel's four samples; a sample has the colour of the next pixel
    if it sees that pixel's facet and not its own."""
    height, width, _ = color.shape
    own = np.pad(samples[::2, ::2], ((0, 1), (0, 1)), "edge")
    total = color + color + color + color  # of most pixels, which see one facet
    others = []
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        seen, next_ = samples[dy::2, dx::2], own[dy : dy + height, dx : dx + width]
        others.append(((seen != own[:height, :width]) & (seen == next_), dy, dx))
    y, x = np.nonzero(others[0][0] | others[1][0] | others[2][0])
    edges = color[y, x]
    for other, dy, dx in others:
        next_ = color[np.minimum(y + dy, height - 1), np.minimum(x + dx, width - 1)]
        edges += np.where(other[y, x, None], next_, color[y, x])
    total[y, x] = edges
    total /= 4
    return total


def _rained_on(color: np.ndarray, raster: Raster, wet: float, rng) -> np.ndarray:
    """Adds rain: the road mirrors what is above it, and drops fall."""
    height, width, _ = color.shape
    horizon = int(raster.scene.camera.horizon * height)
    rows = (2 * horizon - np.arange(height)).clip(0, height - 1)
    mirror = cv2.GaussianBlur(color[rows].clip(0, 255).astype(np.uint8), (3, 31), 0)
    color = color + (np.float32(0.6) * mirror - 0.7 * color) * (wet * _is(raster, WET)[..., None])
    drops = (255 * (rng.random_sample((height, width)) < 0.01)).astype(np.uint8)
    streaks = cv2.GaussianBlur(drops, (1, 13), 0)[..., None].astype(np.float32)
    return color + (200 - color) * (streaks / 90)


def _photograph(color: np.ndarray, settings: RenderSettings, rng) -> np.ndarray:
    """Takes a picture of the light with the camera's flaws, (H, W, 3) uint8."""
    height, width, _ = color.shape
    gain = rng.uniform(*settings.exposure) * (1 + settings.balance * rng.uniform(-1, 1, 3))
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    bright = (1 - rng.uniform(*settings.vignette) / 2 * (x * x + y * y)).astype(np.float32)
    color = color * (bright[..., None] * gain.astype(np.float32))
    saturation, contrast = (
        np.float32(rng.uniform(*r)) for r in (settings.saturation, settings.contrast)
    )
    grey = (color[..., :1] + color[..., 1:2] + color[..., 2:]) * ((1 - saturation) / 3)
    color = (grey + color * saturation - 118) * contrast + 118
    sigma = rng.uniform(*settings.blur)
    if sigma:
        image = color.clip(0, 255).astype(np.uint8)
        color = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    deviation = rng.uniform(*settings.noise)
    if deviation:
        four = rng.randint(0, 256, (4, height, width, 3), dtype=np.uint8)
        grain = four.sum(axis=0, dtype=np.int16) - 510  # of standard deviation 148
        color += grain * np.float32(deviation / 148)
    image = color.clip(0, 255).astype(np.uint8)
    if settings.quality is not None:
        quality = [cv2.IMWRITE_JPEG_QUALITY, round(rng.uniform(*settings.quality))]
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], quality)
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]
    return image
