"""Augmentations that show training images in named appearances or in the look of a folder; labels
stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from PIL import Image

from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, SEVERITIES, Look, look_of_images
from ibnseg.datasets.pictures import UNREADABLE, read_image, read_upright
from ibnseg.datasets.transforms import FurtherView
from ibnseg.registry import TRANSFORMS
from ibnseg.support.data_files import (
    IMAGE_SUFFIXES,
    count_by_suffix,
    has_suffix,
    list_files_below,
)
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import as_path
from ibnseg.support.reading import regular_file

MOST = 200
"""The most images that a look is measured on; if there are more, evenly spaced ones are taken."""


@TRANSFORMS.register_module()
class Appearance(BaseTransform):
    """With probability ``prob``, shows ``img`` in one of the named appearances.

    Random numbers come from NumPy's global generator.

    Args:
        names: names in :data:`~ibnseg.appearance.CONDITIONS` and :data:`~ibnseg.appearance.PAPER`.
        severity: (low, high), from 1 to 5; the severity of a condition is a whole number that is
            drawn uniformly from low to high.
        prob: in [0, 1].

    Raises:
        UserError: if a name is in neither table.
        ValueError: if there are no names, or a value is out of bounds.

    Shape:
        ``img``, (H, W, 3) uint8 BGR, keeps its shape and dtype; the paper's appearances, which are
        never clipped, make it float32.
    """

    def __init__(
        self,
        names: Sequence[str],
        severity: tuple[int, int] = (SEVERITIES[0], SEVERITIES[-1]),
        prob: float = 1.0,
    ) -> None:
        self.names = _known("appearance", names, [*CONDITIONS, *PAPER])
        low, high = severity
        if not (low in SEVERITIES and high in SEVERITIES and low <= high):
            raise ValueError(f"Appearance: severity is {severity}, expected (low, high), 1 to 5")
        self.severity, self.prob = (low, high), _share("Appearance", prob)

    def transform(self, results: dict) -> dict:
        if np.random.random() >= self.prob:
            return results
        name = self.names[np.random.randint(len(self.names))]
        image = results["img"][..., ::-1]
        if name in PAPER:
            changed = PAPER[name](image.astype(np.float32))
        else:
            severity = np.random.randint(self.severity[0], self.severity[1] + 1)
            rng = np.random.default_rng(np.random.randint(2**32, dtype=np.uint64))
            changed = CONDITIONS[name].at(image, severity, rng)
        results["img"] = np.ascontiguousarray(changed[..., ::-1])
        return results


@TRANSFORMS.register_module()
class LookOf(BaseTransform):
    """With probability ``prob``, gives ``img`` the look of a folder's images.

    Args:
        folder: the folder of the images, which may have sub-folders; see :func:`look_of_folder`.
        names: names in :data:`~ibnseg.appearance.LOOKS`; one is drawn for each image from NumPy's
            global generator.
        prob: in [0, 1].

    Raises:
        UserError: if a name is unknown, or the folder has no images.
        ValueError: if there are no names, or the probability is out of bounds.

    Shape:
        ``img``, (H, W, 3) uint8 BGR, keeps its shape and dtype.
    """

    def __init__(self, folder: str, names: Sequence[str] = tuple(LOOKS), prob: float = 1.0) -> None:
        self.names = _known("look", names, LOOKS)
        self.prob = _share("LookOf", prob)
        self.look = look_of_folder(str(as_path(folder).resolve()))

    def transform(self, results: dict) -> dict:
        if np.random.random() >= self.prob:
            return results
        name = self.names[np.random.randint(len(self.names))]
        changed = LOOKS[name](results["img"][..., ::-1], self.look)
        results["img"] = np.ascontiguousarray(changed[..., ::-1])
        return results


def check_order(augment: Sequence[BaseTransform]) -> None:
    """Checks that the paper's appearances, which leave unclipped floats, come last, in further
    views too.

    Raises:
        UserError: if a transform of 8-bit images comes after them; it names the first one.
    """
    floats = False
    for i, transform in enumerate(augment):
        if isinstance(transform, FurtherView):
            check_order(transform.steps.transforms)
        names = transform.names if isinstance(transform, Appearance) else []
        if floats and not (names and {*names} <= {*PAPER}):
            raise UserError(
                f"augment[{i}]: {type(transform).__name__} comes after the paper's appearances "
                f"({', '.join(PAPER)}), which leave unclipped floats; let those come last"
            )
        floats = floats or not PAPER.keys().isdisjoint(names)


def _known(kind: str, names: Sequence[str], table: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not names:
        raise ValueError(f"names is {names!r}, expected a list of names")
    for name in names:
        if name not in table:
            raise unknown_name(kind, name, table)
    return list(names)


def _share(name: str, prob: float) -> float:
    if not 0 <= prob <= 1:
        raise ValueError(f"{name}: prob is {prob}, expected 0 to 1")
    return prob


@cache
def look_of_folder(folder: str) -> Look:
    """Measures the look of the images in a folder and below, once in each process.

    Raises:
        UserError: if the folder has no images, or one of them has no colours (e.g. a label).
    """
    there = list_files_below(folder)
    paths = [path for path in there if has_suffix(path, IMAGE_SUFFIXES)]
    if not paths:
        raise UserError(
            f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) to take the look of; give a folder "
            "of images"
        )
    if len(paths) < len(there):
        others = count_by_suffix(path for path in there if not has_suffix(path, IMAGE_SUFFIXES))
        print_log(f"{folder}: {others} are no images and left out of the look", "current")
    return look_of_files(paths, upright=True)


def look_of_files(paths: Sequence[str | Path], upright: bool = False) -> Look:
    """Measures the look of the images in some files; if there are more than ``MOST``, of so many.

    Args:
        paths: the paths of the images.
        upright: whether they are turned as their EXIF orientation says, which is logged, instead of
            read as they are stored.

    Raises:
        UserError: if an image cannot be read or has no colours.
    """
    places = np.linspace(0, len(paths) - 1, min(len(paths), MOST)).round().astype(int)
    turned = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal turned
        for path in (paths[i] for i in places):
            _require_colours(path)
            image, is_turned = read_upright(path) if upright else (read_image(path), False)
            turned += is_turned
            yield image[..., ::-1]

    look = look_of_images(images())
    if turned:
        print_log(
            f"{Path(paths[0]).parent}: {turned} of {len(places)} images were turned upright, as "
            "their EXIF orientation says, for the look",
            "current",
        )
    return look


def _require_colours(path: str | Path) -> None:
    """Raises a UserError if an image has no colours; what cannot be opened is reported when it is
    read."""
    try:
        with Image.open(regular_file(path)) as image:
            mode = image.mode
    except UNREADABLE:
        return
    if mode not in ("RGB", "RGBA"):
        raise UserError(
            f"{path}: has mode {mode}, expected colours (RGB); is it a label? Give a folder of "
            "images alone"
        )
