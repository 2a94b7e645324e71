"""Computes something of every label of a dataset, shared out over all processes of a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import cv2
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from torch.utils.data import DataLoader, Dataset

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.stretches import Stretches
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.support.errors import UserError
from ibnseg.support.progress import with_bar_if_long

T = TypeVar("T")

CHUNK = 8
"""The labels that a worker reads before it hands over what it computed."""

LEAST = 40
"""The fewest labels for which it is worth to start a worker."""


def of_every_label(
    dataset: DrivingDataset,
    compute: Callable[[Stretches], T],
    description: str,
    *,
    indices: Sequence[int] | None = None,
    tile: int | None = None,
    workers: int = 0,
) -> list[T]:
    """Computes something of every label, and returns it on all processes.

    Each process of a distributed command takes an equal share of the labels and shares it out over
    its own workers. So all are busy at the same time, and none waits for the others longer than it
    takes to read a few labels.

    Args:
        dataset: the dataset whose labels are read, as stored.
        compute: what is computed of a label's stretches of train ids; it and its result go between
            processes.
        description: what the progress bar says is under way.
        indices: the indices of the labels; all of the dataset by default.
        tile: of :func:`~ibnseg.datasets.stretches.stretches`.
        workers: the loader processes of each process, at most one a core; 0 for none.

    Returns:
        What was computed, in the order of ``indices``.

    Raises:
        UserError: if a label cannot be read.
    """
    indices = range(len(dataset)) if indices is None else indices
    rank, world_size = get_rank(), get_world_size()
    own = indices[rank::world_size]
    loader = DataLoader(
        _Labels(dataset, own, tile, compute),
        batch_size=CHUNK,
        num_workers=min(workers, os.cpu_count() or 1, len(own) // LEAST),
        collate_fn=list,
        worker_init_fn=_one_thread,
    )
    found: list[T] = []
    for each in with_bar_if_long(
        chain.from_iterable(loader), len(own), description, hidden=not is_main_process()
    ):
        if isinstance(each, UserError):
            raise each
        found.append(each)
    result: list[T] = [None] * len(indices)
    for other, part in enumerate(all_gather_object(found)):
        result[other::world_size] = part
    return result


class _Labels(Dataset):
    """Gives for each label of a dataset what is computed from it, or the UserError if it cannot be
    read."""

    def __init__(
        self,
        dataset: DrivingDataset,
        indices: Sequence[int],
        tile: int | None,
        compute: Callable[[Stretches], T],
    ) -> None:
        self.dataset, self.indices, self.tile, self.compute = dataset, indices, tile, compute
        self.load = LoadLabel()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> T | UserError:
        info = self.dataset.get_data_info(self.indices[i])
        try:
            return self.compute(self.load.stretches(info, self.tile))
        except UserError as error:
            return error


def _one_thread(worker: int) -> None:
    """Keeps OpenCV to one thread in a worker, as torch is."""
    cv2.setNumThreads(1)
