"""Appearances by name as augmentation of training images, and the look of a folder; labels stay as
they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, UnidentifiedImageError

from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, SEVERITIES, Look, describe
from ibnseg.datasets.transforms import read_image
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError, unknown_name

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST = 200
"""Of how many images a look is taken at most, evenly spaced in the order of their names."""


@TRANSFORMS.register_module()
class Appearance(BaseTransform):
    """With probability ``prob``, shows ``img`` in one of some appearances, drawn from NumPy's
    global generator.

    Args:
        names: of :data:`~ibnseg.appearance.CONDITIONS` and :data:`~ibnseg.appearance.PAPER`.
        severity: bounds of that of a condition, which is a whole number between them, uniform.
        prob: in [0, 1].

    Raises:
        UserError: for a name that is in neither table.
        ValueError: for no names, and values out of bounds.

    Shape:
        ``img``, (H, W, 3) uint8 BGR, to the same; the paper's, which are never clipped, to float32.
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
        folder: of images, in sub-folders too; see :func:`look_of_folder`.
        names: of :data:`~ibnseg.appearance.LOOKS`, one of which is drawn from NumPy's global
            generator.
        prob: in [0, 1].

    Raises:
        UserError: for an unknown name, and a folder without images.
        ValueError: for no names, and a probability out of bounds.

    Shape:
        ``img``, (H, W, 3) uint8 BGR, to the same.
    """

    def __init__(self, folder: str, names: Sequence[str] = tuple(LOOKS), prob: float = 1.0) -> None:
        self.names = _known("look", names, LOOKS)
        self.prob = _share("LookOf", prob)
        self.look = look_of_folder(os.path.realpath(folder))

    def transform(self, results: dict) -> dict:
        if np.random.random() >= self.prob:
            return results
        name = self.names[np.random.randint(len(self.names))]
        changed = LOOKS[name](results["img"][..., ::-1], self.look)
        results["img"] = np.ascontiguousarray(changed[..., ::-1])
        return results


def check_order(augment: Sequence[BaseTransform]) -> None:
    """Makes sure that what leaves unclipped floats, the paper's appearances, comes last.

    Raises:
        UserError: naming the first transform of pixels of 8 bits that comes after it.
    """
    floats = False
    for i, transform in enumerate(augment):
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
    """The look of the PNG and JPEG images in a folder and below it, read once a process.

    Raises:
        UserError: for a folder without images, and what is no colour image, as a label.
    """
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no images ({', '.join(SUFFIXES)}), whose look is to be taken")
    return look_of(paths)


def look_of(paths: Sequence[str | Path]) -> Look:
    """The look of images, of ``MOST`` of them where there are more.

    Raises:
        UserError: for what is unreadable or no colour image.
    """
    places = np.linspace(0, len(paths) - 1, min(len(paths), MOST)).round().astype(int)
    return describe(_colours(paths[i] for i in places))


def _colours(paths: Iterator[str | Path]) -> Iterator[np.ndarray]:
    for path in paths:
        try:
            with Image.open(path) as image:
                mode = image.mode
        except (OSError, UnidentifiedImageError):
            mode = "RGB"  # and reading it tells what is wrong
        if mode not in ("RGB", "RGBA"):
            raise UserError(
                f"{path}: of mode {mode}, expected colours (RGB); is it a label? Name the folder "
                "of the images alone"
            )
        yield read_image(path)[..., ::-1]
