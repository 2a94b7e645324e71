"""Class-uniform sampling, in which a share of the training stream shows each class equally often.

The method and its tiles are those of shachoi/RobustNet (``datasets/uniform.py``): an index lists
the places of each class in the training images, and crops are taken around these places.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.every_label import of_every_label
from ibnseg.datasets.joined import JoinedDomains
from ibnseg.datasets.labels import IGNORE
from ibnseg.datasets.sampler import StreamItem, StreamSampler
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.datasets.stretches import Stretches
from ibnseg.registry import DATA_SAMPLERS
from ibnseg.support.errors import UserError
from ibnseg.support.files import cache_folder, in_turn, written_whole
from ibnseg.support.reading import DAMAGED, read_npy

TILE = 1024
"""The side in pixels of the squares in which classes are searched."""


def class_centroids(label: Stretches) -> np.ndarray:
    """Finds the centroid of each class in each tile of a label.

    As in RobustNet, only whole tiles are searched, beginning at the upper left; what remains on the
    right and below is left out. In an image of GTA5, 1914x1052, only the left 1024x1024 are
    searched. A side that is shorter than a tile has one tile here, but none in RobustNet.

    Args:
        label: the stretches of train ids, cut at the tiles; pixels of ``IGNORE`` are left out.

    Returns:
        (M, 3) int32: class, x, y, where (x, y) is the mean of the class's pixels, rounded down. The
        pixel at that place may have another class.
    """
    rows, columns = (max(1, side // label.tile) for side in label.shape)
    y = label.begins // label.shape[1]
    x = label.begins - label.shape[1] * y
    row, column = y // label.tile, x // label.tile
    places = (row * columns + column) * 256 + label.ids
    places[(row >= rows) | (column >= columns)] = IGNORE  # in no whole tile
    counts, twice_x, sum_y = (  # float64 holds sums of whole numbers exactly, up to 2**53
        np.bincount(places, weights, rows * columns * 256).astype(np.int64)
        for weights in (
            label.lengths,
            label.lengths * (2 * x + label.lengths - 1),
            label.lengths * y,
        )
    )
    found = np.flatnonzero(counts)
    found = found[found % 256 != IGNORE]
    x, y = (sums[found] // counts[found] for sums in (twice_x // 2, sum_y))
    return np.stack([found % 256, x, y], axis=1).astype(np.int32)


def class_index(dataset: DrivingDataset, tile: int = TILE, workers: int = 0) -> np.ndarray:
    """Finds the centroids in all labels of a dataset, with all processes of the command.

    Args:
        dataset: the dataset whose labels are searched.
        tile: the side of a tile in pixels.
        workers: the loader processes of each process.

    Returns:
        (M, 4) int32: class, index of the image in the dataset, x, y; in the order of the images.

    Raises:
        UserError: if a label cannot be read.
    """
    parts = of_every_label(dataset, class_centroids, "Finding classes", tile=tile, workers=workers)
    return np.concatenate([np.insert(part, 1, i, axis=1) for i, part in enumerate(parts)])


def index_file(dataset: DrivingDataset, tile: int = TILE) -> Path:
    """Names the file in which the index of a dataset is cached, by a hash of what it depends on.

    That is the dataset's type, its tables of ids and colours, how its labels are read, the tile,
    and the labels' names below the root and their sizes. So runs with other seeds and networks find
    it, and so does a copy of the data in another folder.
    """
    files = [Path(dataset.get_data_info(i)["seg_map_path"]) for i in range(len(dataset))]
    facts = (
        type(dataset).__name__,
        sorted(dataset.label_ids.items()),
        sorted(dataset.label_colors.items()),
        dataset.LABEL_CHANNEL,
        tile,
        [(os.path.relpath(file, dataset.data_root), file.stat().st_size) for file in files],
        *([dataset.label_reader.identity()] if dataset.label_reader else []),
    )
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache_folder() / "class_index" / f"{name}.npy"


def cached_class_index(
    dataset: DrivingDataset | JoinedDomains, tile: int = TILE, workers: int = 0
) -> np.ndarray:
    """Returns :func:`class_index` from its cache, :func:`index_file`, or makes and caches it.

    One process reads and writes the file for all. A damaged file is made anew; if the file cannot
    be written, a warning is logged. The index of joined domains holds those of each, one after
    another.
    """
    if isinstance(dataset, JoinedDomains):
        parts = [cached_class_index(each, tile, workers) for each in dataset.datasets]
        shifts = zip(parts, dataset.offsets, strict=False)
        return np.concatenate([part + np.array([0, offset, 0, 0]) for part, offset in shifts])
    file = index_file(dataset, tile) if is_main_process() else None
    shared = [file and _cached(file, len(dataset))]
    broadcast_object_list(shared)
    (index,) = shared
    if index is not None:
        return index
    index = class_index(dataset, tile, workers)
    if file:
        _cache(file, index)
    return index


def _cached(file: Path, images: int) -> np.ndarray | None:
    """The index in a file; None if there is none for so many images."""
    with suppress(*DAMAGED, UserError):
        index = read_npy(file)
        if _is_index(index, images):
            return index
    return None


def _cache(file: Path, index: np.ndarray) -> None:
    try:
        with in_turn(file), written_whole(file) as temporary:
            np.save(temporary, index)
    except UserError as error:
        print_log(f"{error}; the next run searches classes again", "current", logging.WARNING)


def _is_index(array: np.ndarray, images: int) -> bool:
    """Whether an array has the form of :func:`class_index`, for a dataset of so many images."""
    if array.dtype != np.int32 or array.ndim != 2 or array.shape[1] != 4:
        return False
    return bool(
        (array >= 0).all() and (array[:, 0] < IGNORE).all() and (array[:, 1] < images).all()
    )


@DATA_SAMPLERS.register_module()
class ClassUniformSampler(StreamSampler):
    """The training stream, in which a share of the positions shows a class around its centroid.

    Each position is class-uniform with probability ``share``: its class is then drawn uniformly
    from those that occur, and its centroid uniformly from those of the class. All other positions
    keep the images of the plain stream. The content of a position depends on the seed alone.

    Args:
        dataset: the training data.
        share: in (0, 1].
        workers: the loader processes with which the classes are searched.
        kwargs: the arguments of mmengine's ``InfiniteSampler``.

    Raises:
        UserError: if no label has a pixel of any class.
    """

    def __init__(self, dataset: DrivingDataset, share: float, workers: int = 0, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        self.share = share
        require_equal_sizes(dataset)  # all labels are read next, which takes minutes
        index = cached_class_index(dataset, workers=workers)
        places = (index[index[:, 0] == label, 1:] for label in np.unique(index[:, 0]))
        self.places = list(places)
        """The places of each class that occurs, each (M, 3) int32: index of the image, x, y."""
        if not self.places:
            raise UserError(
                f"{dataset.data_root}: class_uniform is {share}, but no label has a pixel of any "
                "class; check the labels, or set class_uniform to 0"
            )

    def stream(self) -> Iterator[StreamItem]:
        generator = np.random.default_rng(self.seed)
        for item in super().stream():
            chance, which, where = generator.random(3)
            if chance < self.share:
                places = self.places[int(which * len(self.places))]
                index, x, y = places[int(where * len(places))].tolist()
                item = item._replace(index=index, centroid=(x, y))
            yield item
