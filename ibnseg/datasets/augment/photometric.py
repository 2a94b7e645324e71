"""Augmentations that randomly change colours and sharpness of training images; labels stay as they
are."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from torchvision.transforms.v2 import functional

from ibnseg.appearance.road import blur
from ibnseg.registry import TRANSFORMS

ADJUSTMENTS = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}
"""The properties that are jittered, each with torchvision's function for it."""


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """torchvision's ``ColorJitter`` of Pillow images, with NumPy's global random generator.

    With probability ``prob``, brightness, contrast, saturation and hue are changed in random order.
    The first three are multiplied by a factor that is uniform in ``[max(0, 1 - x), 1 + x]``; the
    hue is shifted by a value that is uniform in ``[-x, x]``, where 1 is the whole circle. A
    property with x = 0 is not changed.

    Args:
        brightness, contrast, saturation: x >= 0.
        hue: x in [0, 0.5].
        prob: in [0, 1].

    Raises:
        ValueError: if a value is out of these bounds.

    Shape:
        ``img``, (H, W, 3) uint8 BGR, keeps its shape and dtype.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        factors = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        most = {**dict.fromkeys(factors, np.inf), "hue": 0.5, "prob": 1}
        for name, value in {**factors, "hue": hue, "prob": prob}.items():
            if not 0 <= value <= most[name]:
                raise ValueError(f"ColorJitter: {name} is {value}, expected 0 to {most[name]}")
        self.bounds = {
            "brightness": (max(0.0, 1 - brightness), 1 + brightness),
            "contrast": (max(0.0, 1 - contrast), 1 + contrast),
            "saturation": (max(0.0, 1 - saturation), 1 + saturation),
            "hue": (-hue, hue),
        }
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.random() >= self.prob:
            return results
        image = Image.fromarray(np.ascontiguousarray(results["img"][..., ::-1]))
        for name in np.random.permutation(list(self.bounds)):
            low, high = self.bounds[name]
            if low < high:
                image = ADJUSTMENTS[name](image, np.random.uniform(low, high))
        results["img"] = np.asarray(image)[..., ::-1]
        return results


@TRANSFORMS.register_module()
class GaussianBlur(BaseTransform):
    """Blurs ``img``, (H, W, 3) uint8, by a Gaussian of random width.

    The kernel ends at four standard deviations; the image's border is repeated outside.

    Args:
        sigma: (low, high), in pixels; the standard deviation is uniform between them.

    Raises:
        ValueError: if they are not two numbers above 0, the lower one first.
    """

    def __init__(self, sigma: tuple[float, float]) -> None:
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(f"GaussianBlur: sigma is {sigma}, expected (low, high) above 0")
        self.sigma = sigma

    def transform(self, results: dict) -> dict:
        results["img"] = blur(results["img"], np.random.uniform(*self.sigma))
        return results
