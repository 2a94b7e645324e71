"""How streets lie on disk: as GTA5, as Cityscapes, or as BDD100K in each of its releases.

A picture says what it shows, where its files are and what its label means; a layout on disk lists
the pictures of a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ibnseg.datasets.labels import (
    CITYSCAPES_IDS,
    DRIVABLE_2018_IDS,
    DRIVABLE_IDS,
    LABELS,
    lookup_table,
)
from ibnseg.streets.drivable import drivable_area
from ibnseg.streets.raster import Raster
from ibnseg.streets.render import APPEARANCES

FIRST_LAYOUT = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Where the street layouts of each split begin, so that splits share none."""

MOST = 999_999
"""Images of a split, at most."""

CITIES = {
    "train": ("ahornfurt", "birkheim", "eschenau", "fichtenberg", "lindach", "ulmstadt"),
    "val": ("buchenrode", "erlenbad"),
    "test": ("pappelau", "weidenhof"),
}
"""Streets written as Cityscapes are divided among these."""


class Counts(NamedTuple):
    """Images of each split."""

    train: int
    val: int
    test: int = 0


Meaning = Callable[[Raster], Image.Image]
"""What a label says of a scene: an image in mode L or P of the ids on disk."""


class Picture(NamedTuple):
    """Which street layout it shows, its files, and what is in them."""

    layout: int
    image: Path  # PNG or JPEG, by its suffix
    label: Path | None  # PNG; none where labels are not public
    meaning: Meaning


class DiskLayout(NamedTuple):
    """How a folder of streets lies on disk."""

    pictures: Callable[[Path, Counts], Iterator[Picture]]
    lists: Callable[[Counts], dict[str, dict]] = (
        lambda counts: {}
    )  # JSON files beside them, by name


def as_gta5(root: Path, counts: Counts) -> Iterator[Picture]:
    """Flat folders, numbered through; see :class:`ibnseg.datasets.GTA5`."""
    for number, (_, _, layout) in enumerate(_images(counts), 1):
        name = f"{number:05d}.png"
        yield Picture(layout, root / "images" / name, root / "labels" / name, _gta5_ids)


def gta5_split(counts: Counts) -> dict[str, dict]:
    """The ``split.json`` of :func:`as_gta5`: the first and last number of each split."""
    lasts = zip(counts._fields, counts, accumulate(counts), strict=True)
    return {"split.json": {split: [[last - n + 1, last]] for split, n, last in lasts if n}}


def as_cityscapes(root: Path, counts: Counts) -> Iterator[Picture]:
    """Folders of cities; see :class:`ibnseg.datasets.Cityscapes`."""
    for split, i, layout in _images(counts):
        city = CITIES[split][i * len(CITIES[split]) // getattr(counts, split)]
        name = f"{city}_{i:06d}_000019"
        image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
        label = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        yield Picture(layout, image, None if split == "test" else label, _cityscapes_ids)


def as_bdd100k(
    images: str, labels: str, suffix: str, meaning: Meaning, root: Path, counts: Counts
) -> Iterator[Picture]:
    """Folders of splits, and names of 17 characters as BDD100K's: first the split, then the number.

    Args:
        images, labels: the folders of splits.
        suffix: of a label, after the image's name.
        meaning: of the labels.
        root: the folder of all.
        counts: of images.
    """
    for split, i, layout in _images(counts):
        name = f"{FIRST_LAYOUT[split]:08d}-{i:08d}"
        label = root / labels / split / f"{name}{suffix}"
        image = root / images / split / f"{name}.jpg"
        yield Picture(layout, image, None if split == "test" else label, meaning)


def _images(counts: Counts) -> Iterator[tuple[str, int, int]]:
    """Split, number in the split and street layout of each image."""
    for split, count in counts._asdict().items():
        for i in range(count):
            yield split, i, FIRST_LAYOUT[split] + i


def _cityscapes_ids(raster: Raster) -> Image.Image:
    return Image.fromarray(raster.labels)


def _gta5_ids(raster: Raster) -> Image.Image:
    label = _cityscapes_ids(raster)
    label.putpalette(_GTA5_PALETTE)
    return label


_GTA5_PALETTE = np.array(
    [(20, 20, 20) if label.name == "static" else label.color for label in LABELS], np.uint8
).tobytes()


def _train_ids(raster: Raster) -> Image.Image:
    return Image.fromarray(lookup_table(CITYSCAPES_IDS)[raster.labels])


def _drivable_ids(ids: dict[int, int], raster: Raster) -> Image.Image:
    """The drivable area in a release's ids, which a dict maps to train ids."""
    on_disk = lookup_table({train_id: id_ for id_, train_id in ids.items()})
    return Image.fromarray(on_disk[drivable_area(raster)])


def _bdd100k(*release: str | Meaning) -> DiskLayout:
    return DiskLayout(partial(as_bdd100k, *release))


LAYOUTS_ON_DISK = {
    "gta5": DiskLayout(as_gta5, gta5_split),
    "cityscapes": DiskLayout(as_cityscapes),
    "drivable": _bdd100k(
        "images/100k", "labels/drivable/masks", ".png", partial(_drivable_ids, DRIVABLE_IDS)
    ),
    "drivable-2018": _bdd100k(
        "images/100k",
        "drivable_maps/labels",
        "_drivable_id.png",
        partial(_drivable_ids, DRIVABLE_2018_IDS),
    ),
    "sem-seg": _bdd100k("images/10k", "labels/sem_seg/masks", ".png", _train_ids),
    "sem-seg-2018": _bdd100k("seg/images", "seg/labels", "_train_id.png", _train_ids),
}
"""Layouts by name; those of BDD100K as ``doc/source/format.rst`` of bdd100k/bdd100k has them, and
for 2018 its README of then (commit 3e762ca)."""

OWN_LAYOUT = dict.fromkeys(APPEARANCES, "cityscapes") | {"virtual": "gta5"}
"""The layout on disk of each appearance, unless another is asked for."""
