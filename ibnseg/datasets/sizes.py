"""Sizes of images and labels, compared by the files' headers before any of them is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.logging import print_log
from PIL import Image

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.joined import JoinedDomains
from ibnseg.datasets.label_reader import LabelReader
from ibnseg.datasets.pictures import MOST_BYTES, UNREADABLE, unreadable
from ibnseg.support.errors import UserError
from ibnseg.support.progress import with_bar_if_long
from ibnseg.support.reading import regular_file

THREADS = 16
"""The files that are opened at a time, because a network disk takes milliseconds to open one."""

NAMED = 3
"""The files that an error names."""

KINDS = {"seg_map_path": "label", "instance_map_path": "instance map"}
"""What must have the size of its image, by the key of its path in a sample."""


class Pair(NamedTuple):
    """An image, and a file that must have its size."""

    image: str
    other: str
    kind: str
    reader: LabelReader | None = None
    """What reads the other file, if it is no image."""

    @property
    def problem(self) -> str | None:
        """What is wrong with the pair, beginning with a path; None if nothing is, or if its files
        have not changed since nothing was."""
        try:
            state = tuple(map(_state, self[:2]))
            if state in _EQUAL:
                return None
            size = stored_size(self.image)
            own = self.reader.size(self.other) if self.reader else stored_size(self.other)
        except UserError as error:
            return str(error)
        if size == own:
            _EQUAL.add(state)
            return None
        (width, height), (own_width, own_height) = size, own
        return (
            f"{self.other}: {self.kind} of {own_width}x{own_height} for an image of "
            f"{width}x{height}"
        )


_EQUAL: set[tuple] = set()
"""The :func:`_state` of both files of each pair that has been compared in this process."""


def _state(path: str) -> tuple:
    """The path of a file, its size, and when it was changed last.

    Raises:
        UserError: if it is missing, or no regular file.
    """
    found = regular_file(path, MOST_BYTES).stat()
    return path, found.st_size, found.st_mtime_ns


def stored_size(path: str | Path) -> tuple[int, int]:
    """Reads the size of an image from its header, before any orientation that its EXIF data asks
    for.

    Returns:
        (width, height) in pixels.

    Raises:
        UserError: if the file is missing, unreadable, or not an image.
    """
    try:
        with Image.open(regular_file(path, MOST_BYTES)) as image:
            return image.size
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def require_equal_sizes(dataset: DrivingDataset | JoinedDomains) -> None:
    """Checks that labels and instance maps have the sizes of their images.

    Only headers are read, 20000 files in about a second on a local disk, and those that have not
    changed since only once in a process. Of prepared data, whose sizes were compared then, it is
    checked instead that no file has changed since. Each process reads its share of the files, and
    all raise the same error.

    Raises:
        UserError: with the number of wrong pairs and the first of them.
    """
    for each in getattr(dataset, "datasets", [dataset]):
        if each.store is not None:
            _require_unchanged(each)
    compare_sizes(list(_pairs(dataset)), "unpack the download again, or remove these pairs")


def compare_sizes(pairs: Sequence[Pair], advice: str) -> None:
    """Checks the sizes of pairs, of which each process reads a share; all raise the same error.

    Args:
        pairs: those of all processes.
        advice: what the user can do about wrong ones, for the error.

    Raises:
        UserError: as :func:`require_equal_sizes`.
    """
    own = pairs[get_rank() :: get_world_size()]
    with ThreadPool(THREADS) as pool:
        found = with_bar_if_long(
            pool.imap(lambda pair: pair.problem, own, chunksize=16),
            len(own),
            "Comparing sizes",
            hidden=not is_main_process(),
        )
        problems = [problem for problem in found if problem]
    problems = sorted(problem for part in all_gather_object(problems) for problem in part)
    if problems:
        rest = len(problems) - NAMED
        more = f" (and {rest} more)" if rest > 0 else ""
        raise UserError(
            f"{len(problems)} of {len(pairs)} pairs cannot be used: {', '.join(problems[:NAMED])}"
            f"{more}; {advice}"
        )


def _require_unchanged(dataset: DrivingDataset) -> None:
    """Checks a prepared dataset with the main process, and raises its error in all."""
    problem = [None]
    if is_main_process():
        try:
            dataset.store.require_unchanged(dataset.infos())
            print_log(
                f"{dataset.data_root}: samples are read from {dataset.store.folder}", "current"
            )
        except UserError as error:
            problem = [str(error)]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise UserError(problem[0])


def _pairs(dataset: DrivingDataset | JoinedDomains) -> Iterator[Pair]:
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        if "stored_image" in info:
            continue
        for key, kind in KINDS.items():
            if key in info:
                reader = info.get("label_reader") if kind == "label" else None
                yield Pair(info["img_path"], info[key], kind, reader)
