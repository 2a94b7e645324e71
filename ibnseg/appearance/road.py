"""What light, lens, sensor and compression do to images on the road, each at five severities.

Images are (H, W, 3) uint8, RGB, and results are too: rounded to the nearest integer and clipped to
0 to 255. Nothing moves in an image, so its label stays true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ibnseg.appearance.pixels import VALUES, as_uint8, mapped, to_uint8

LUMA = (0.299, 0.587, 0.114)
"""The weights of R, G and B in the luma of a pixel, from ITU-R BT.601; OpenCV and Pillow have the
same."""

SEVERITIES = (1, 2, 3, 4, 5)
"""The severities that every condition has, beside 0, which changes nothing."""


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies every value, as a longer exposure does; light areas saturate.

    Args:
        image: (H, W, 3) uint8, RGB.
        factor: 0 or more; 1 changes nothing.

    Raises:
        TypeError: if the image is not uint8.
    """
    return mapped(image, factor * VALUES)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Moves every value towards the image's mean luma ``m``, as haze does.

    The result is ``m + factor * (x - m)``.

    Args:
        image: (H, W, 3) uint8, RGB.
        factor: 0 or more; 1 changes nothing, 0 leaves a grey plane.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    mean = float(np.dot(cv2.mean(image)[:3], LUMA))
    return mapped(image, mean + factor * (VALUES - mean))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Moves every pixel towards its own luma ``y``: ``y + factor * (x - y)``.

    Args:
        image: (H, W, 3) uint8, RGB.
        factor: 0 or more; 1 changes nothing, 0 leaves no colour.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    matrix = factor * np.eye(3) + (1 - factor) * np.array([LUMA] * 3)
    # in float32, since OpenCV multiplies 8-bit images in fixed point
    return to_uint8(cv2.transform(image.astype(np.float32), matrix))


def hue(image: np.ndarray, angle: float) -> np.ndarray:
    """Turns the hue and keeps saturation and value (HSV).

    Args:
        image: (H, W, 3) uint8, RGB.
        angle: in degrees; 120 turns red into green, 0 changes nothing.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + angle) % 360
    return to_uint8(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def gamma(image: np.ndarray, exponent: float) -> np.ndarray:
    """Raises every value to a power, ``255 * (x / 255) ** exponent``, and keeps black and white.

    Args:
        image: (H, W, 3) uint8, RGB.
        exponent: above 0; above 1 the image darkens, 1 changes nothing.

    Raises:
        TypeError: if the image is not uint8.
    """
    return mapped(image, 255 * (VALUES / 255) ** exponent)


NEUTRAL = 6500.0
"""The colour temperature in kelvin of the light that images are assumed to be taken in."""


def temperature(image: np.ndarray, kelvin: float) -> np.ndarray:
    """Shows the scene lit by a black body of another temperature, with a camera set to 6500 K.

    Each channel (sRGB, linearised by IEC 61966-2-1) is multiplied by the ratio of the two lights in
    that channel, times a common factor that keeps the luminance of white.

    Args:
        image: (H, W, 3) uint8, RGB.
        kelvin: from 2222 to 25000; below 6500 is warmer, 6500 changes nothing.

    Raises:
        TypeError: if the image is not uint8.
        ValueError: if the temperature is out of bounds.
    """
    gains = planckian(kelvin) / planckian(NEUTRAL)
    gains /= gains @ _LUMINANCE
    value = VALUES[:, None] / 255
    light = gains * np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return mapped(image, 255 * value)


def planckian(kelvin: float) -> np.ndarray:
    """Computes the light of a black body in linear sRGB, (3,) float64, at luminance 1.

    Its CIE 1931 chromaticity comes from the cubics of Kim et al., US patent 7024034 (2006).

    Args:
        kelvin: from 2222 to 25000.

    Raises:
        ValueError: if the temperature is out of bounds.
    """
    if not 2222 <= kelvin <= 25000:
        raise ValueError(f"temperature is {kelvin} K, expected 2222 to 25000")
    of_x, of_y = _WARM if kelvin < 4000 else _COLD
    x = np.polyval(of_x, 1e3 / kelvin)
    y = np.polyval(of_y, x)
    return _XYZ_TO_RGB @ (x / y, 1.0, (1 - x - y) / y)


_WARM = (
    (-0.2661239, -0.2343589, 0.8776956, 0.179910),
    (-0.9549476, -1.37418593, 2.09137015, -0.16748867),
)
_COLD = (
    (-3.0258469, 2.1070379, 0.2226347, 0.240390),
    (3.0817580, -5.87338670, 3.75112997, -0.37001483),
)
"""Coefficients of the polynomials of x in 1000 K / T and of y in x, below 4000 K and from there."""
_XYZ_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""The luminance of the primaries of sRGB, from IEC 61966-2-1."""


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Adds independent Gaussian noise to every value.

    Args:
        image: (H, W, 3) uint8, RGB.
        deviation: standard deviation in grey levels from 0 to 255; 0 changes nothing.
        rng: draws the noise; see :func:`generator`.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    return to_uint8(image + deviation * rng.standard_normal(image.shape, np.float32))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs by a Gaussian that ends at four standard deviations; the border is repeated outside.

    Args:
        image: (H, W, 3) uint8, RGB.
        sigma: standard deviation in pixels; 0 changes nothing.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    side = 2 * int(4 * sigma + 0.5) + 1
    if side == 1:
        return image.copy()
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Compresses the image as JPEG and reads it again.

    Args:
        image: (H, W, 3) uint8, RGB.
        quality: libjpeg's, from 0 to 100; even 100 loses something.

    Raises:
        TypeError: if the image is not uint8.
    """
    image = as_uint8(image)
    bgr = np.ascontiguousarray(image[..., ::-1])
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(code, cv2.IMREAD_COLOR_RGB)


@dataclass(frozen=True)
class Condition:
    """A change of images with one parameter, which has a value for each severity."""

    change: Callable[..., np.ndarray]
    """Callable (image, parameter) -> image, or (image, parameter, rng) -> image if ``random``."""
    parameter: str
    """The name of the parameter, with its unit in brackets if it has one."""
    none: float
    """The value that changes nothing (JPEG: that changes least)."""
    severities: tuple[float, float, float, float, float]
    """The values of severities 1 to 5."""
    random: bool = False
    """Whether ``change`` draws random numbers."""

    def at(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Shows an image under this condition.

        Args:
            image: (H, W, 3) uint8, RGB.
            severity: from 0, which changes nothing, to 5.
            rng: draws what is random; equal generators give equal images.

        Raises:
            TypeError: if the image is not uint8.
            ValueError: if the severity is not 0 to 5.
        """
        if severity not in (0, *SEVERITIES):
            raise ValueError(f"severity is {severity}, expected 0 to {SEVERITIES[-1]}")
        if severity == 0:
            return image.copy()
        parameter = self.severities[severity - 1]
        return self.change(image, parameter, rng) if self.random else self.change(image, parameter)


CONDITIONS: dict[str, Condition] = {
    "brightness": Condition(brightness, "factor", 1, (1.15, 1.3, 1.5, 1.7, 2.0)),
    "contrast": Condition(contrast, "factor", 1, (0.75, 0.55, 0.4, 0.25, 0.15)),
    "saturation": Condition(saturation, "factor", 1, (0.75, 0.5, 0.3, 0.15, 0.0)),
    "hue": Condition(hue, "angle (degrees)", 0, (10, 20, 35, 60, 90)),
    "gamma": Condition(gamma, "exponent", 1, (1.2, 1.5, 1.9, 2.4, 3.0)),
    "temperature": Condition(
        temperature, "black body (K)", NEUTRAL, (5500, 4500, 3700, 3000, 2500)
    ),
    "noise": Condition(noise, "deviation (of 255)", 0, (5, 10, 18, 30, 45), random=True),
    "blur": Condition(blur, "sigma (pixels)", 0, (0.7, 1.2, 2.0, 3.0, 4.5)),
    "jpeg": Condition(jpeg, "quality (of 100)", 100, (50, 30, 18, 10, 5)),
}
"""All conditions by name. The severities are this project's own: they begin where a change is
hardly visible and end where a person still recognises the scene."""


def generator(seed: int, key: str) -> np.random.Generator:
    """Makes a random generator for one image; it depends on the seed and the image's key alone."""
    of_key = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, of_key])
