"""Draws streets and writes them to disk on all cores; interrupted work continues, and streets of
different settings are not mixed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2

from ibnseg.streets.disk import LAYOUTS_ON_DISK, MOST, OWN_LAYOUT, Counts, Picture
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import APPEARANCES, render
from ibnseg.support.data_files import list_files, list_folders
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import alone_in, as_path, written_whole
from ibnseg.support.ledger import Ledger
from ibnseg.support.processes import end_with_parent
from ibnseg.support.progress import bar

VERSION = 1
"""The version of the drawing; pictures of different versions are not mixed."""

RECORD = "streets.json"
"""The file that records the settings of a folder of streets."""


def write_streets(
    out: str | Path,
    counts: Mapping[str, Counts | tuple[int, ...]],
    *,
    layout: str | None = None,
    size: tuple[int, int] = (512, 256),
    seed: int = 0,
) -> list[Path]:
    """Draws streets and writes them to ``out/streets_<appearance>``; if the layout on disk is not
    the appearance's own, to ``out/streets_<appearance>_<layout>``.

    Equal seeds give equal streets in all appearances and layouts. If it was interrupted, the same
    call continues.

    Args:
        out: a folder, which is made if it does not exist.
        counts: the number of images of each appearance, ``(train, val)`` or ``(train, val, test)``.
        layout: the layout on disk, one of ``LAYOUTS_ON_DISK``; each appearance's own if None.
        size: (width, height) in pixels, even numbers.
        seed: the seed of the streets, 0 to 999; two seeds have no street in common.

    Returns:
        The folders.

    Raises:
        UserError: if an argument is wrong, a folder holds something else or cannot be written, or
            there is too little memory.
    """
    counts = {appearance: Counts(*images) for appearance, images in counts.items()}
    _require_possible(counts, layout, size, seed)
    ledgers = {}
    for appearance, images in counts.items():
        own = OWN_LAYOUT[appearance]
        name = f"streets_{appearance}"
        if layout not in (None, own):
            name += f"_{layout.replace('-', '_')}"
        identity = dict(
            version=VERSION,
            appearance=appearance,
            layout=layout or own,
            seed=seed,
            size=list(size),
            **images._asdict(),
        )
        root = as_path(out) / name
        ledgers[root] = Ledger(
            root / RECORD,
            "streets",
            identity,
            defaults=dict(layout=own, test=0),
            advice="give another folder, or remove it",
        )
    for root, ledger in ledgers.items():
        _refuse_others(root, ledger)
    with ExitStack() as locks:
        for root in ledgers:
            locks.enter_context(alone_in(root, "is being written"))
        tasks: dict[int, list[tuple[str, Picture]]] = {}
        for root, ledger in ledgers.items():
            for appearance, picture in _begin(root, ledger):
                tasks.setdefault(picture.layout, []).append((appearance, picture))
        try:
            _in_parallel(partial(_draw, size, seed), list(tasks.values()))
        except (MemoryError, BrokenProcessPool) as error:
            raise UserError(
                f"too little memory to draw a picture of {size[0]}x{size[1]} on each core; choose "
                "a smaller size"
            ) from error
    return list(ledgers)


def layout_number(seed: int, layout: int) -> int:
    """The number of a layout of a seed among the layouts of all seeds; see
    ``disk.FIRST_LAYOUT``."""
    return 4_000_000 * seed + layout


def _require_possible(
    counts: Mapping[str, Counts], layout: str | None, size: tuple[int, int], seed: int
) -> None:
    """Raises a UserError if an argument of :func:`write_streets` is wrong."""
    for appearance, images in counts.items():
        if appearance not in APPEARANCES:
            raise unknown_name("appearance", appearance, APPEARANCES)
        for split, count in images._asdict().items():
            least = int(split == "val")
            if not least <= count <= MOST:
                raise UserError(f"{count} images of split {split}: expected {least} to {MOST}")
    if layout is not None and layout not in LAYOUTS_ON_DISK:
        raise unknown_name("layout on disk", layout, LAYOUTS_ON_DISK)
    if min(size) < 64 or max(size) > 4096 or size[0] % 2 or size[1] % 2:
        raise UserError(f"size {size[0]}x{size[1]}: expected even numbers from 64 to 4096")
    if not 0 <= seed < 1000:
        raise UserError(f"seed {seed}: expected 0 to 999")


def _begin(root: Path, ledger: Ledger) -> Iterator[tuple[str, Picture]]:
    """Writes the files that are not pictures; yields the pictures that are still to be drawn."""
    if not ledger.path.exists():
        ledger.write()
    made = ledger.identity
    layout = LAYOUTS_ON_DISK[made["layout"]]
    counts = Counts(*(made[key] for key in Counts._fields))
    for name, content in layout.lists(counts).items():
        _write_json(root / name, content)
    for picture in layout.pictures(root, counts):
        if not all(path.exists() for path in (picture.image, picture.label) if path):
            yield made["appearance"], picture


def _refuse_others(root: Path, ledger: Ledger) -> None:
    """Raises a UserError if a folder holds anything but streets of this ledger."""
    holds = root.is_dir() and (list_files(root) or list_folders(root))
    is_new = not root.exists() or (root.is_dir() and not holds)
    if not is_new and ledger.read(dict) is None:
        raise UserError(f"{root} is not a folder of streets; give another, or remove it")


def _write_json(path: Path, content: Mapping) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def _draw(size: tuple[int, int], seed: int, pictures: Sequence[tuple[str, Picture]]) -> None:
    """Draws the pictures of one layout, each in an appearance, and writes images and labels."""
    number = layout_number(seed, pictures[0][1].layout)
    raster = rasterise(draw_layout(number), *size)
    for appearance, picture in pictures:
        image = render(raster, appearance, number)
        _, encoded = cv2.imencode(picture.image.suffix, image[..., ::-1])  # JPEG: quality 95
        with written_whole(picture.image) as temporary:
            temporary.write_bytes(encoded)
        if picture.label is not None:
            with written_whole(picture.label) as temporary:
                picture.meaning(raster).save(temporary)


def _in_parallel(work: Callable, tasks: Sequence[Sequence]) -> None:
    """Does all tasks on all cores that the process may use, and shows a bar with the time left, in
    which each counts by its length."""
    if not tasks:
        return
    share = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    pool = ProcessPoolExecutor(min(len(share), len(tasks)), initializer=_start_worker)
    try:
        done = {pool.submit(work, task): len(task) for task in tasks}
        with bar() as progress:
            drawn = progress.add_task("Drawing streets", total=sum(done.values()))
            for future in as_completed(done):
                future.result()
                progress.advance(drawn, done[future])
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process stops the workers
    cv2.setNumThreads(0)
