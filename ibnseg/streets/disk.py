"""The layouts of streets on disk: that of GTA5, of Cityscapes, or of each release of BDD100K.

A picture states what it shows, where its files are and what its label means; a layout on disk lists
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
"""The number of each split's first street layout, chosen so that splits share none."""

MOST = 999_999
"""The most images of a split."""

CITIES = {
    "train": ("ahornfurt", "birkheim", "eschenau", "fichtenberg", "lindach", "ulmstadt"),
    "val": ("buchenrode", "erlenbad"),
    "test": ("pappelau", "weidenhof"),
}
"""The cities into which streets in the layout of Cityscapes are divided."""


class Counts(NamedTuple):
    """The number of images of each split."""

    train: int
    val: int
    test: int = 0


Meaning = Callable[[Raster], Image.Image]
"""Callable (raster) -> label: an image of the ids on disk, in mode L or P."""


class Picture(NamedTuple):
    """A picture that is to be drawn: its street layout, its files, and the meaning of its label."""

    layout: int
    image: Path  # PNG or JPEG, by its suffix
    label: Path | None  # PNG; None if labels are not public
    meaning: Meaning


class DiskLayout(NamedTuple):
    """How a folder of streets lies on disk."""

    pictures: Callable[[Path, Counts], Iterator[Picture]]
    lists: Callable[[Counts], dict[str, dict]] = lambda counts: {}  # JSON files, by name


def as_gta5(root: Path, counts: Counts) -> Iterator[Picture]:
    """Lists pictures in the layout of GTA5: numbered in two flat folders, as
    :class:`ibnseg.datasets.GTA5` reads them."""
    for number, (_, _, layout) in enumerate(_images(counts), 1):
        name = f"{number:05d}.png"
        yield Picture(layout, root / "images" / name, root / "labels" / name, _gta5_ids)


def gta5_split(counts: Counts) -> dict[str, dict]:
    """The ``split.json`` of :func:`as_gta5`, with the first and last number of each split."""
    lasts = zip(counts._fields, counts, accumulate(counts), strict=True)
    return {"split.json": {split: [[last - n + 1, last]] for split, n, last in lasts if n}}


def as_cityscapes(root: Path, counts: Counts) -> Iterator[Picture]:
    """Lists pictures in the layout of Cityscapes: in folders of cities, as
    :class:`ibnseg.datasets.Cityscapes` reads them."""
    for split, i, layout in _images(counts):
        city = CITIES[split][i * len(CITIES[split]) // getattr(counts, split)]
        name = f"{city}_{i:06d}_000019"
        image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
        label = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        yield Picture(layout, image, None if split == "test" else label, _cityscapes_ids)


def as_bdd100k(
    images: str, labels: str, suffix: str, meaning: Meaning, root: Path, counts: Counts
) -> Iterator[Picture]:
    """Lists pictures in a layout of BDD100K: in folders of splits, with names of 17 characters,
    which are made of split and number.

    Args:
        images, labels: the folders that have a folder for each split.
        suffix: what follows the image's name in the name of its label.
        meaning: what the labels show.
        root: the folder of the dataset.
        counts: the number of images of each split.
    """
    for split, i, layout in _images(counts):
        name = f"{FIRST_LAYOUT[split]:08d}-{i:08d}"
        label = root / labels / split / f"{name}{suffix}"
        image = root / images / split / f"{name}.jpg"
        yield Picture(layout, image, None if split == "test" else label, meaning)


def _images(counts: Counts) -> Iterator[tuple[str, int, int]]:
    """Yields the split, the number in the split and the street layout of each image."""
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
    """The drivable area in the ids of a release; ``ids`` maps them to train ids."""
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
"""Layouts on disk by name; those of BDD100K follow ``doc/source/format.rst`` of bdd100k/bdd100k,
and for 2018 its README of that time (commit 3e762ca)."""

OWN_LAYOUT = dict.fromkeys(APPEARANCES, "cityscapes") | {"virtual": "gta5"}
"""The layout on disk of each appearance, unless another one is chosen."""
