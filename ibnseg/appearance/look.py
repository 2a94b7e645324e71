"""Gives an image the look of another domain without a style network, by the statistics of its
colours or the amplitudes of its lowest frequencies.

Images are (H, W, 3) uint8, RGB, and results are too: they are computed in floating point, and
rounded and clipped at the end. Where things are is encoded in the phases and in the order of the
values, and neither changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy import fft

from ibnseg.appearance.pixels import VALUES, as_uint8, mapped, to_uint8

SIDE = 256
"""Images are shrunk to SIDE x SIDE by area averaging before their amplitudes are taken. This hardly
changes the low frequencies, which are counted in waves across the image."""

BETA = 0.01
"""The default of ``beta``: the smallest of the three values that the FDA paper uses."""


@dataclass(frozen=True)
class Look:
    """The statistics of a set of images that make up its look."""

    mean: np.ndarray
    """(3,) float64: the mean of R, G and B, from 0 to 255."""
    deviation: np.ndarray
    """(3,) float64: the standard deviation of R, G and B over the pixels of all images."""
    amplitude: np.ndarray
    """(SIDE, SIDE // 2 + 1, 3) float64: the amplitudes of ``scipy.fft.rfft2``, divided by the
    number of pixels and averaged over the images; ``[v, u]`` has v waves from top to bottom and u
    from left to right."""


def look_of_images(images: Iterable[np.ndarray]) -> Look:
    """Measures the look of a set of images; every image has the same weight.

    Args:
        images: (H, W, 3) uint8, RGB, of any sizes; at least one.

    Raises:
        ValueError: if there is no image.
    """
    count, first, second = 0, np.zeros(3), np.zeros(3)
    amplitude = np.zeros((SIDE, SIDE // 2 + 1, 3))
    for image in images:
        mean, deviation = _moments(image)
        first += mean
        second += deviation**2 + mean**2
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        amplitude += np.abs(fft.rfft2(small, axes=(0, 1))) / SIDE**2
        count += 1
    if not count:
        raise ValueError("expected at least one image")
    mean = first / count
    return Look(mean, np.sqrt((second / count - mean**2).clip(0)), amplitude / count)


def match_moments(image: np.ndarray, look: Look) -> np.ndarray:
    """Gives each channel of an image the mean and standard deviation of a look.

    This is the method of Reinhard et al., "Color Transfer between Images" (IEEE CG&A 2001), applied
    to RGB. A channel that has a single value gets the mean.

    Args:
        image: (H, W, 3) uint8, RGB.
        look: from :func:`look_of_images`.

    Raises:
        TypeError: if the image is not uint8.
    """
    mean, deviation = _moments(image)
    factor = look.deviation / np.where(deviation > 0, deviation, 1)
    return mapped(image, look.mean + factor * (VALUES[:, None] - mean))


def match_amplitudes(image: np.ndarray, look: Look, beta: float = BETA) -> np.ndarray:
    """Gives an image's lowest frequencies the amplitudes of a look, and keeps all phases.

    This is equation 3 of Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic
    Segmentation" (CVPR 2020), with the mean amplitude of many images instead of that of one image.
    As in the authors' code, the replaced amplitudes are those of up to ``floor(beta * min(H, W))``
    waves across the image in either direction; if that is 0, only the mean is replaced.

    Args:
        image: (H, W, 3) uint8, RGB.
        look: from :func:`look_of_images`.
        beta: half the side of the replaced square, as a share of the shorter edge; in [0, 0.5).

    Raises:
        TypeError: if the image is not uint8.
        ValueError: if beta is out of these bounds, or asks for more waves than a look has.
    """
    height, width = image.shape[:2]
    reach = int(beta * min(height, width))
    if not 0 <= beta < 0.5 or reach >= SIDE // 2:
        raise ValueError(
            f"beta is {beta}, expected 0 to 0.5, and at most {SIDE // 2 - 1} waves in "
            f"{width}x{height}"
        )
    spectrum = fft.rfft2(as_uint8(image).astype(np.float32), axes=(0, 1))
    down = np.arange(-reach, reach + 1)
    square = (down[:, None], np.arange(reach + 1))
    phase = np.exp(1j * np.angle(spectrum[square]))
    spectrum[square] = height * width * look.amplitude[square] * phase
    return to_uint8(fft.irfft2(spectrum, (height, width), axes=(0, 1)))


LOOKS: dict[str, Callable[[np.ndarray, Look], np.ndarray]] = {
    "moments": match_moments,
    "fourier": partial(match_amplitudes, beta=BETA),
}
"""The ways to give an image a look, by name."""


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, each (3,) float64."""
    mean, deviation = cv2.meanStdDev(as_uint8(image))
    return mean.ravel(), deviation.ravel()
