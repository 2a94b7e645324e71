"""Random scale, aspect ratio and crop of training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from ibnseg.datasets.transforms.cropping import CROPS, axes, label_crop
from ibnseg.datasets.transforms.resizing import CentredResize
from ibnseg.datasets.upstream import RandomCrop
from ibnseg.registry import TRANSFORMS


def log_uniform(low: float, high: float) -> float:
    """Draws a number from NumPy's global generator, whose logarithm is uniform between those of the
    bounds."""
    return np.exp(np.random.uniform(np.log(low), np.log(high)))


SCALE_SAMPLING = {"log_uniform": log_uniform, "uniform": np.random.uniform}
"""How a random scale is drawn between its bounds."""

INTERPOLATION = {"bilinear": "cv2", "bicubic": "pillow"}
"""How images are resized, and by which of mmcv's backends: OpenCV's bilinear takes the nearest four
pixels; Pillow's bicubic widens its kernel when it shrinks, so that no pixel is left out."""


@TRANSFORMS.register_module()
class RandomScaleAspect(BaseTransform):
    """Resizes by a random scale and aspect ratio in one step, starting from a fixed or the stored
    size.

    The new size is ``(w * s * sqrt(a), h * s / sqrt(a))``, rounded, with ``a`` log-uniform. Labels
    are resized as by :func:`~ibnseg.datasets.transforms.resizing.resize_label`. A
    ``centroid``, (x, y), goes to the pixel that its centre falls into.

    Args:
        scale: bounds of ``s``.
        aspect: bounds of ``a``, by which width over height changes.
        size: (width, height) to start from; the stored size if None.
        sampling: the name in ``SCALE_SAMPLING`` of how ``s`` is drawn.
        interpolation: of images, a name in ``INTERPOLATION``.
    """

    def __init__(
        self,
        scale: tuple[float, float],
        aspect: tuple[float, float],
        size: Sequence[int] | None = None,
        sampling: str = "log_uniform",
        interpolation: str = "bilinear",
    ) -> None:
        self.scale, self.aspect, self.size = scale, aspect, size
        self.draw_scale = SCALE_SAMPLING[sampling]
        self.resize = CentredResize(
            scale=(1, 1),
            keep_ratio=False,
            interpolation=interpolation,
            backend=INTERPOLATION[interpolation],
        )

    def draw_size(self, results: dict) -> tuple[int, int]:
        """Draws the new (width, height), and moves the ``centroid``."""
        stored = results["img"].shape[1::-1]
        width, height = self.size or stored
        scale, aspect = self.draw_scale(*self.scale), log_uniform(*self.aspect)
        stretch = np.sqrt(aspect)
        size = max(1, round(width * scale * stretch)), max(1, round(height * scale / stretch))
        if results.get("centroid") is not None:
            results["centroid"] = tuple(
                (2 * c + 1) * new // (2 * old)
                for c, new, old in zip(results["centroid"], size, stored, strict=True)
            )
        return size

    def transform(self, results: dict) -> dict:
        self.resize.scale = self.draw_size(results)
        return self.resize(results)


@TRANSFORMS.register_module()
class CropAround(RandomCrop):
    """mmseg's random crop, which contains ``centroid``, (x, y), if a sample has one.

    The crop is drawn uniformly among those that contain the centroid and then moved into the image,
    so far as it fits.
    """

    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Draws a crop of ``img``: (top, bottom, left, right)."""
        if results.get("centroid") is None:
            return super().crop_bbox(results)
        (x, y), bbox = results["centroid"], []
        shape = results["img"].shape[:2]
        for at, crop, size in zip((y, x), self.crop_size, shape, strict=True):
            start = min(max(np.random.randint(at - crop + 1, at + 1), 0), max(size - crop, 0))
            bbox += [start, start + crop]
        return tuple(bbox)


REDRAWN = 10
"""How often a crop may be drawn again because one class fills it."""


def largest_share(train_ids: np.ndarray) -> float:
    """Computes the share of the most frequent class in the labelled pixels; 1 if there are none.

    Args:
        train_ids: (H, W) uint8; 255 is not labelled.
    """
    counts = np.bincount(train_ids.ravel(), minlength=256)[:255]
    return counts.max() / max(counts.sum(), 1) if counts.any() else 1.0


@TRANSFORMS.register_module()
class ScaleCrop(BaseTransform):
    """Draws a scale and a crop as :class:`RandomScaleAspect` and :class:`CropAround` do one after
    the other, and resizes only what the crop shows.

    Image and label are bit for bit those of the two transforms.

    Args:
        scale, aspect, size, sampling, interpolation: those of :class:`RandomScaleAspect`.
        crop_size: (height, width) of the crop; where the image is smaller, so is the crop.
        one_class_at_most: crops in which one class has this share of the labelled pixels, or more,
            are drawn again, up to :data:`REDRAWN` times (``cat_max_ratio`` of mmseg's
            ``RandomCrop``); 1: none are.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        interpolation: str = "bilinear",
        one_class_at_most: float = 1.0,
        **scale,
    ) -> None:
        self.one_class_at_most = one_class_at_most
        self.resize = RandomScaleAspect(interpolation=interpolation, **scale)
        self.crop = CropAround(crop_size)
        self.crop_of = CROPS[interpolation]

    def transform(self, results: dict) -> dict:
        image = results["img"]
        width, height = size = self.resize.draw_size(results)
        unseen = np.broadcast_to(np.uint8(0), (height, width, 3))
        keys = results.get("seg_fields", [])
        for i in range(REDRAWN + 1):
            window = self.crop.crop_bbox({**results, "img": unseen})
            down, across = axes(image.shape, size, window)
            labels = {key: label_crop(results[key], down, across) for key in keys}
            is_last = i == REDRAWN or self.one_class_at_most == 1
            if is_last or largest_share(labels["gt_seg_map"]) < self.one_class_at_most:
                break
        results["img"] = self.crop_of(image, down, across)
        results.update(labels)
        results["img_shape"] = results["img"].shape[:2]
        results["scale"], results["keep_ratio"] = size, False
        results["scale_factor"] = width / image.shape[1], height / image.shape[0]
        return results
