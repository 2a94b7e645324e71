"""From files to tensors: loading with checks, random scale, aspect ratio and crop, packing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Resize
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image, UnidentifiedImageError

from ibnseg.datasets.labels import UNKNOWN, lookup_table
from ibnseg.datasets.upstream import RandomCrop
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError


def read_image(path: str | Path) -> np.ndarray:
    """An 8-bit colour image, (H, W, 3) uint8, BGR as OpenCV has it.

    Raises:
        UserError: if the file is missing, unreadable or truncated.
    """
    try:
        image = mmcv.imfrombytes(Path(path).read_bytes(), flag="color", backend="cv2")
    except (OSError, cv2.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if image is None:
        raise UserError(f"{path}: truncated or not an image; unpack or download it again")
    return image


def read_label(path: str | Path) -> np.ndarray:
    """A label file as stored: (H, W) uint8 ids (a palette's indices), or (H, W, 3) uint8 RGB.

    Raises:
        UserError: if the file is missing, unreadable, truncated, or neither 8-bit nor RGB.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "RGB"):
                raise UserError(
                    f"{path}: label of mode {image.mode}, expected 8-bit ids (L or P) or RGB"
                )
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: truncated or not an image ({error}); unpack it again") from error


def read_instances(path: str | Path) -> np.ndarray:
    """A map of instances as Cityscapes has it: (H, W) uint16 ids, 1000 * class id + number for an
    instance, the class id itself for all else.

    Raises:
        UserError: if the file is missing, unreadable, truncated, or not of 16 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("I;16", "I"):  # older versions of Pillow have the latter
                raise UserError(
                    f"{path}: map of instances of mode {image.mode}, expected 16-bit ids (I;16)"
                )
            return np.asarray(image).astype(np.uint16, copy=False)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: truncated or not an image ({error}); unpack it again") from error


def ids_to_train_ids(
    label: np.ndarray, ids: dict[int, int], name: str | Path = "label"
) -> np.ndarray:
    """Train ids of a label by one look-up a pixel.

    Args:
        label: (H, W) uint8, ids of a dataset.
        ids: the dataset's table from ids to train ids.
        name: what an error calls the label.

    Returns:
        (H, W) uint8, 0 to 18 and 255.

    Raises:
        UserError: naming the ids that are not in the table.
    """
    train_ids = cv2.LUT(label, lookup_table(ids))
    unknown = train_ids == UNKNOWN
    if unknown.any():
        raise UserError(
            f"{name}: ids {_list(np.unique(label[unknown]))} are not in the dataset's table "
            f"({_list(sorted(ids))}); is it a label of another dataset, or already of train ids?"
        )
    return train_ids


def colors_to_train_ids(
    label: np.ndarray, colors: dict[tuple[int, int, int], int], name: str | Path = "label"
) -> np.ndarray:
    """Train ids of a label that is stored as colours.

    Args:
        label: (H, W, 3) uint8, RGB.
        colors: RGB colours to train ids.
        name: what an error calls the label.

    Returns:
        (H, W) uint8, 0 to 18 and 255.

    Raises:
        UserError: naming the colours that are not in the table.
    """
    packed = label @ np.array([1 << 16, 1 << 8, 1], np.int32)
    found, inverse = np.unique(packed, return_inverse=True)
    rgb = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in found]
    unknown = [color for color in rgb if color not in colors]
    if unknown:
        raise UserError(f"{name}: colours {_list(unknown)} are not in the dataset's palette")
    return np.array([colors[c] for c in rgb], np.uint8)[inverse].reshape(packed.shape)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads ``img_path`` into ``img``, (H, W, 3) uint8 BGR, and notes its size as ``ori_shape``."""

    def transform(self, results: dict) -> dict:
        results["img"] = read_image(results["img_path"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Loads ``seg_map_path`` into ``gt_seg_map``, (H, W) uint8 train ids, by the dataset's own
    tables.

    Raises:
        UserError: for a file that is unreadable, of a wrong dtype or of another size than its
            image, and for ids or colours outside of the tables.
    """

    def __init__(self) -> None:
        self.told = False

    def transform(self, results: dict) -> dict:
        label = self.train_ids(results)
        _require_size(results["seg_map_path"], "label", label, results)
        results["gt_seg_map"] = label
        results["seg_fields"].append("gt_seg_map")
        return results

    def train_ids(self, info: dict) -> np.ndarray:
        """The label of a sample, (H, W) uint8, for which its image need not be loaded."""
        path = info["seg_map_path"]
        label = read_label(path)
        if label.ndim == 2:
            return ids_to_train_ids(label, info["label_ids"], path)
        if not info["label_colors"]:
            raise UserError(f"{path}: label is stored as RGB, expected one channel of 8-bit ids")
        self._tell(path)
        return colors_to_train_ids(label, info["label_colors"], path)

    def _tell(self, path: str) -> None:
        if not self.told:
            print_log(
                f"{path}: labels are stored as RGB and mapped by colour; licence plate and "
                "polegroup, "
                "ignored otherwise, become car and pole, whose colours they share",
                logger="current",
                level=logging.WARNING,
            )
        self.told = True


def log_uniform(low: float, high: float) -> float:
    """A number from NumPy's global generator whose logarithm is uniform between the bounds'."""
    return np.exp(np.random.uniform(np.log(low), np.log(high)))


SCALE_SAMPLING = {"log_uniform": log_uniform, "uniform": np.random.uniform}
"""How a random scale is drawn between its bounds."""

INTERPOLATION = {"bilinear": "cv2", "bicubic": "pillow"}
"""How images are resized, and by which of mmcv's backends: OpenCV's bilinear takes the nearest four
pixels; Pillow's bicubic widens its kernel where it shrinks, so that nothing is left out. Labels are
resized by the nearest neighbour of the same library."""


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Loads ``instance_map_path``, where a sample has one, into ``gt_instance_map``, (H, W) uint16
    at the stored size.

    Raises:
        UserError: for a file that is unreadable, of a wrong dtype or of another size than its
            image.
    """

    def transform(self, results: dict) -> dict:
        if "instance_map_path" not in results:
            return results
        path = results["instance_map_path"]
        instances = read_instances(path)
        _require_size(path, "map of instances", instances, results)
        results["gt_instance_map"] = instances
        return results


def _require_size(path: str, kind: str, pixels: np.ndarray, results: dict) -> None:
    if pixels.shape[:2] != tuple(results["ori_shape"]):
        (h, w), (image_h, image_w) = pixels.shape[:2], results["ori_shape"]
        raise UserError(f"{path}: {kind} of {w}x{h} for an image of {image_w}x{image_h}")


@TRANSFORMS.register_module()
class RandomScaleAspect(BaseTransform):
    """Resizes by a random scale and aspect ratio in one step, starting from a fixed or the stored
    size.

    The new size is ``(w * s * sqrt(a), h * s / sqrt(a))``, rounded, with ``a`` log-uniform. A
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
        self.resize = Resize(
            scale=(1, 1),
            keep_ratio=False,
            interpolation=interpolation,
            backend=INTERPOLATION[interpolation],
        )

    def transform(self, results: dict) -> dict:
        stored = results["img"].shape[1::-1]
        width, height = self.size or stored
        scale, aspect = self.draw_scale(*self.scale), log_uniform(*self.aspect)
        stretch = np.sqrt(aspect)
        self.resize.scale = (
            max(1, round(width * scale * stretch)),
            max(1, round(height * scale / stretch)),
        )
        if results.get("centroid") is not None:
            results["centroid"] = tuple(
                (2 * c + 1) * new // (2 * old)
                for c, new, old in zip(results["centroid"], self.resize.scale, stored, strict=True)
            )
        return self.resize(results)


@TRANSFORMS.register_module()
class CropAround(RandomCrop):
    """mmseg's random crop, which contains ``centroid``, (x, y), where a sample has one.

    The crop is drawn uniformly among those that contain the centroid and then moved into the image,
    so far as it fits.
    """

    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) of the crop in ``img``."""
        if results.get("centroid") is None:
            return super().crop_bbox(results)
        (x, y), bbox = results["centroid"], []
        shape = results["img"].shape[:2]
        for at, crop, size in zip((y, x), self.crop_size, shape, strict=True):
            start = min(max(np.random.randint(at - crop + 1, at + 1), 0), max(size - crop, 0))
            bbox += [start, start + crop]
        return tuple(bbox)


@TRANSFORMS.register_module()
class Pack(BaseTransform):
    """Packs ``inputs``, (3, H, W) uint8, and a ``SegDataSample``; labels stay uint8 on their way to
    the device.

    Instances become int32, which every device has. They are left out where the label was resized or
    cropped after loading, because their sizes would no longer be those of the stored map.
    """

    META = ("img_path", "ori_shape", "img_shape")
    FLIP = ("flip", "flip_direction")

    def transform(self, results: dict) -> dict:
        keys = (*self.META, *(key for key in self.FLIP if key in results))
        sample = SegDataSample(metainfo={key: results[key] for key in keys})
        if "gt_seg_map" in results:
            label = np.ascontiguousarray(results["gt_seg_map"])[None]
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(label))
            instances = results.get("gt_instance_map")
            if instances is not None and instances.shape == label.shape[1:]:
                ids = torch.from_numpy(instances.astype(np.int32)[None])
                sample.gt_instance_ids = PixelData(data=ids)
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(image), data_samples=sample)


def _list(values, most: int = 40) -> str:
    values = [str(v) for v in values]
    return ", ".join(values[:most]) + (" ..." if len(values) > most else "")
