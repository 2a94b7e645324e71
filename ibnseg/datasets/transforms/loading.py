"""The first steps of a pipeline: an image, its label as train ids, and its instance map."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from ibnseg.datasets.labels import IGNORE, UNKNOWN, lookup_table
from ibnseg.datasets.pictures import read_image, read_instances, read_label
from ibnseg.datasets.store import map_pixels
from ibnseg.datasets.stretches import Stretches, stretches
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError


def ids_to_train_ids(
    label: np.ndarray, ids: dict[int, int], name: str | Path = "label"
) -> np.ndarray:
    """Turns a dataset's ids into train ids by one look-up a pixel.

    Args:
        label: (H, W) uint8, ids of a dataset.
        ids: the dataset's table from ids to train ids.
        name: what an error calls the label.

    Returns:
        (H, W) uint8, 0 to 18 and 255.

    Raises:
        UserError: naming the ids that are not in the table.
    """
    train_ids = _looked_up(label, lookup_table(ids))
    if train_ids.size and train_ids.view(np.int8).min() < _LEAST:  # a fifth of the time of ==
        unknown = train_ids == UNKNOWN
        if unknown.any():
            raise UserError(
                f"{name}: ids {_list(np.unique(label[unknown]))} are not in the dataset's table "
                f"({_list(sorted(ids))}); is it a label of another dataset, or already of train "
                "ids?"
            )
    return train_ids


_LEAST = np.uint8(IGNORE).view(np.int8)
"""The least of the known train ids below 128 as signed numbers; ``UNKNOWN`` is less."""


def _looked_up(label: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Looks up the ids of a label, two neighbours at once if the width is even."""
    if label.shape[1] % 2 or not label.flags.c_contiguous:
        return cv2.LUT(label, table)
    return cv2.LUT(label.view(np.uint16), _of_pairs(table.tobytes())).view(np.uint8)


@lru_cache(maxsize=8)
def _of_pairs(table: bytes) -> np.ndarray:
    """The (65536,) uint16 table for two ids at once, of the (256,) uint8 table for one."""
    both = np.arange(2**16, dtype=np.uint16).view(np.uint8)
    return np.frombuffer(table, np.uint8)[both].view(np.uint16)


def colors_to_train_ids(
    label: np.ndarray, colors: dict[tuple[int, int, int], int], name: str | Path = "label"
) -> np.ndarray:
    """Turns a label that is stored as colours into train ids.

    Args:
        label: (H, W, 3) uint8, RGB.
        colors: RGB colours to train ids.
        name: what an error calls the label.

    Returns:
        (H, W) uint8, 0 to 18 and 255.

    Raises:
        UserError: naming the colours that are not in the table.
    """
    red, green, blue = (label[..., i].astype(np.int32) for i in range(3))
    packed = red << 16 | green << 8 | blue
    places = _places_of(tuple(colors))[packed]
    if places.size and places.min() == 0:
        found = np.unique(packed[places == 0]).tolist()
        unknown = [(each >> 16, each >> 8 & 255, each & 255) for each in found]
        raise UserError(f"{name}: colours {_list(unknown)} are not in the dataset's palette")
    return np.array([0, *colors.values()], np.uint8)[places]


@lru_cache(maxsize=2)
def _places_of(colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """The (2**24,) uint16 table from a packed colour to its place, counted from 1; 0 for others."""
    table = np.zeros(1 << 24, np.uint16)
    for place, (red, green, blue) in enumerate(colors, start=1):
        table[red << 16 | green << 8 | blue] = place
    return table


def stored_label(info: Mapping) -> np.ndarray:
    """Reads the label of a sample: (H, W) uint8 ids of the dataset, or (H, W, 3) uint8 RGB.

    Args:
        info: the sample. Its ``label_reader`` reads labels that are not stored as ids; of those
            with several channels, ``label_channel`` names the one with the ids.

    Raises:
        UserError: if the label cannot be read.
    """
    path, reader = info["seg_map_path"], info.get("label_reader")
    return reader.ids(path) if reader else read_label(path, info.get("label_channel"))


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads ``img_path`` into ``img``, (H, W, 3) uint8 BGR, and notes its size as ``ori_shape``.

    Of a prepared sample, ``stored_image`` is mapped into memory, and can only be read.
    """

    def transform(self, results: dict) -> dict:
        stored = results.get("stored_image")
        results["img"] = map_pixels(stored, 3) if stored else read_image(results["img_path"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Loads ``seg_map_path`` into ``gt_seg_map``, (H, W) uint8 train ids, by the dataset's own
    tables; of a prepared sample, ``stored_label`` is mapped into memory.

    Raises:
        UserError: if the file is unreadable, of a wrong dtype or of another size than its image,
            or holds ids or colours that are not in the tables.
    """

    def __init__(self) -> None:
        self.has_warned = False

    def transform(self, results: dict) -> dict:
        label = self.train_ids(results)
        _require_size(results["seg_map_path"], "label", label, results)
        results["gt_seg_map"] = label
        results["seg_fields"].append("gt_seg_map")
        return results

    def train_ids(self, info: dict) -> np.ndarray:
        """Reads the label of a sample, (H, W) uint8 train ids, without its image."""
        if "stored_label" in info:
            return map_pixels(info["stored_label"], 2)
        label = stored_label(info)
        if label.ndim == 2:
            return ids_to_train_ids(label, info["label_ids"], info["seg_map_path"])
        return self._from_colors(label, info)

    def stretches(self, info: dict, tile: int | None = None) -> Stretches:
        """Reads the label of a sample as stretches of train ids, faster than its pixels; those of
        different ids and the same train id may adjoin.

        Args:
            info: the sample.
            tile: of :func:`~ibnseg.datasets.stretches.stretches`.
        """
        if "stored_label" in info:
            return stretches(np.asarray(self.train_ids(info)), tile)
        label = stored_label(info)
        if label.ndim > 2:
            return stretches(self._from_colors(label, info), tile)
        found = stretches(label, tile)
        ids = ids_to_train_ids(found.ids[:, None], info["label_ids"], info["seg_map_path"])
        return found._replace(ids=ids[:, 0])

    def _from_colors(self, label: np.ndarray, info: dict) -> np.ndarray:
        path = info["seg_map_path"]
        if not info["label_colors"]:
            raise UserError(
                f"{path}: label is stored as RGB, expected one channel of 8-bit ids; if one of "
                "the three holds the ids, the adapter has to say so with LABEL_CHANNEL"
            )
        self._warn(path)
        return colors_to_train_ids(label, info["label_colors"], path)

    def _warn(self, path: str) -> None:
        if not self.has_warned:
            print_log(
                f"{path}: labels are stored as RGB and mapped by colour; licence plate and "
                "polegroup, ignored otherwise, become car and pole, whose colours they share",
                logger="current",
                level=logging.WARNING,
            )
        self.has_warned = True


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Loads ``instance_map_path``, if a sample has one, into ``gt_instance_map``, (H, W) uint16 at
    the stored size.

    Raises:
        UserError: if the file is unreadable, of a wrong dtype or of another size than its image.
    """

    def transform(self, results: dict) -> dict:
        if "instance_map_path" not in results:
            return results
        path = results["instance_map_path"]
        instances = read_instances(path)
        _require_size(path, "instance map", instances, results)
        results["gt_instance_map"] = instances
        return results


def _require_size(path: str, kind: str, pixels: np.ndarray, results: dict) -> None:
    if pixels.shape[:2] != tuple(results["ori_shape"]):
        (h, w), (image_h, image_w) = pixels.shape[:2], results["ori_shape"]
        raise UserError(f"{path}: {kind} of {w}x{h} for an image of {image_w}x{image_h}")


def _list(values, most: int = 40) -> str:
    values = [str(v) for v in values]
    return ", ".join(values[:most]) + (" ..." if len(values) > most else "")
