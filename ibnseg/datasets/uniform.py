"""Class-uniform sampling: a share of the training stream shows each class equally often.

The idea and its tiles are those of shachoi/RobustNet (``datasets/uniform.py``): of each class it is
noted where it lies in the training images, and crops are taken around these places.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import IGNORE
from ibnseg.datasets.sampler import StreamItem, StreamSampler
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.registry import DATA_SAMPLERS
from ibnseg.support.errors import UserError
from ibnseg.support.files import cache_folder, written_whole
from ibnseg.support.progress import bar

TILE = 1024
"""Side in pixels of the squares in which classes are looked for."""


def class_centroids(train_ids: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Where each class lies: its centroid in each tile that it is in.

    As in RobustNet tiles are whole, from the upper left, and what remains on the right and below is
    not looked at: of a GTA5 image, 1914x1052, that is all but the left 1024x1024. A side shorter
    than a tile has one, where RobustNet has none.

    Args:
        train_ids: (H, W) uint8; ``IGNORE`` counts nowhere.
        tile: the side of a tile.

    Returns:
        (M, 3) int32: class, x, y; the mean of the class's pixels, rounded down. The pixel there may
        be of another class.
    """
    found = []
    rows, columns = (max(1, side // tile) for side in train_ids.shape)
    for row, column in np.ndindex(rows, columns):
        top, left = row * tile, column * tile
        part = np.ascontiguousarray(train_ids[top : top + tile, left : left + tile])
        counts = cv2.calcHist([part], [0], None, [256], [0, 256])
        for label in np.flatnonzero(counts[:IGNORE]):
            sums = cv2.moments((part == label).view(np.uint8), binaryImage=True)
            x, y = (int(sums[key] / sums["m00"]) for key in ("m10", "m01"))
            found.append((label, left + x, top + y))
    return np.array(found, np.int32).reshape(-1, 3)


def class_index(dataset: DrivingDataset, tile: int = TILE) -> np.ndarray:
    """The centroids of all labels of a dataset, read by as many threads as there are processors.

    Returns:
        (M, 4) int32: class, index of the image in the dataset, x, y; in order of images.

    Raises:
        UserError: for a label that cannot be read.
    """
    load = LoadLabel()

    def of_image(i: int) -> np.ndarray:
        found = class_centroids(load.train_ids(dataset.get_data_info(i)), tile)
        return np.insert(found, 1, i, axis=1)

    with ThreadPool() as pool, bar() as progress:
        parts = pool.imap(of_image, range(len(dataset)), chunksize=8)
        return np.concatenate(
            list(progress.track(parts, len(dataset), description="Finding classes"))
        )


def index_file(dataset: DrivingDataset, tile: int = TILE) -> Path:
    """Where the index of a dataset is kept: the name is a hash of all that it depends on.

    That is the kind of dataset, the tables of ids and colours in use, the tile, and the labels'
    names below the root and their sizes; so runs of other seeds and networks find it, and a copy of
    the data elsewhere does too.
    """
    files = [Path(dataset.get_data_info(i)["seg_map_path"]) for i in range(len(dataset))]
    facts = (
        type(dataset).__name__,
        sorted(dataset.label_ids.items()),
        sorted(dataset.LABEL_COLORS.items()),
        tile,
        [(os.path.relpath(file, dataset.data_root), file.stat().st_size) for file in files],
    )
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache_folder() / "class_index" / f"{name}.npy"


def cached_class_index(dataset: DrivingDataset, tile: int = TILE) -> np.ndarray:
    """:func:`class_index`, made by one process for all, and kept in :func:`index_file`.

    A file that is damaged is made anew; one that cannot be written is done without, with a warning.
    """
    shared = [_read_or_make(dataset, tile) if is_main_process() else None]
    broadcast_object_list(shared)
    return shared[0]


def _read_or_make(dataset: DrivingDataset, tile: int) -> np.ndarray:
    file = index_file(dataset, tile)
    if file.exists():
        with suppress(OSError, ValueError, EOFError):
            return np.load(file)
    index = class_index(dataset, tile)
    try:
        with written_whole(file) as temporary:
            np.save(temporary, index)
    except UserError as error:
        print_log(f"{error}; the next run finds classes again", "current", logging.WARNING)
    return index


@DATA_SAMPLERS.register_module()
class ClassUniformSampler(StreamSampler):
    """The training stream, where a share of the positions shows a class around its centroid.

    Each position is class-uniform with probability ``share``: then its class is uniform among those
    that occur, and its centroid uniform among the class's. What a position holds depends on the
    seed alone, as in the plain stream, whose images the other positions keep.

    Args:
        dataset: the training data.
        share: in (0, 1].
        kwargs: as mmengine's ``InfiniteSampler``.

    Raises:
        UserError: if no label has any class.
    """

    def __init__(self, dataset: DrivingDataset, share: float, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        self.share = share
        index = cached_class_index(dataset)
        places = (index[index[:, 0] == label, 1:] for label in np.unique(index[:, 0]))
        self.places = list(places)
        """Of each class that occurs, (M, 3) int32: index, x, y."""
        if not self.places:
            raise UserError(
                f"{dataset.data_root}: class_uniform is {share}, and no label has any class; "
                "set it to 0, or check the labels"
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
