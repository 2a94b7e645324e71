"""Generated streets on disk, laid out as GTA5 or as Cityscapes lies there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ibnseg.datasets.labels import LABELS
from ibnseg.datasets.streets.appearance import APPEARANCES, render
from ibnseg.datasets.streets.layout import draw_layout
from ibnseg.datasets.streets.raster import rasterise
from ibnseg.errors import UserError, unknown_name
from ibnseg.files import written_whole
from ibnseg.progress import bar

VERSION = 1
"""Of the drawing: pictures of different versions are not mixed."""

RECORD = "streets.json"
"""A file that says what a folder of streets was made with."""

CITIES = {
    "train": ("ahornfurt", "birkheim", "eschenau", "fichtenberg", "lindach", "ulmstadt"),
    "val": ("buchenrode", "erlenbad"),
}
"""Streets written as Cityscapes are divided among these."""

VAL_LAYOUTS = 1_000_000
"""Layouts of the val split begin here, so that it shares none with train."""


class Picture(NamedTuple):
    """Which layout it shows, and its files."""

    layout: int
    image: Path
    label: Path
    palette: bytes | None  # of the label, RGB


def as_gta5(root: Path, train: int, val: int) -> Iterator[Picture]:
    """Flat folders, numbered through; see :class:`ibnseg.datasets.GTA5`."""
    layouts = [*range(train), *range(VAL_LAYOUTS, VAL_LAYOUTS + val)]
    for number, layout in enumerate(layouts, 1):
        name = f"{number:05d}.png"
        yield Picture(layout, root / "images" / name, root / "labels" / name, _GTA5_PALETTE)


_GTA5_PALETTE = np.array(
    [(20, 20, 20) if label.name == "static" else label.color for label in LABELS], np.uint8
).tobytes()


def as_cityscapes(root: Path, train: int, val: int) -> Iterator[Picture]:
    """Folders of cities; see :class:`ibnseg.datasets.Cityscapes`."""
    for split, count, first in (("train", train, 0), ("val", val, VAL_LAYOUTS)):
        for i in range(count):
            city = CITIES[split][i * len(CITIES[split]) // count]
            name = f"{city}_{i:06d}_000019"
            image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            label = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
            yield Picture(first + i, image, label, None)


LAYOUTS_ON_DISK = dict.fromkeys(APPEARANCES, as_cityscapes) | {"virtual": as_gta5}
"""How each appearance lies on disk."""


def write_streets(
    out: str | Path,
    counts: Mapping[str, tuple[int, int]],
    *,
    size: tuple[int, int] = (512, 256),
    seed: int = 0,
) -> list[Path]:
    """Draws streets and writes them to ``out/streets_<appearance>``.

    ``virtual`` lies there as GTA5 does, with a ``split.json`` of its own; the others lie there as
    Cityscapes. Equal seeds give equal layouts in all appearances. Interrupted and called again, it
    goes on where it was.

    Args:
        out: a folder; it is made if need be.
        counts: of images for training and for testing, by appearance.
        size: (width, height) in pixels, even numbers.
        seed: of the layouts, 0 to 999; two seeds share none.

    Returns:
        The folders.

    Raises:
        UserError: for wrong arguments, a folder that holds something else, one that cannot be
            written, and too little memory.
    """
    for appearance, (train, val) in counts.items():
        if appearance not in APPEARANCES:
            raise unknown_name("appearance", appearance, APPEARANCES)
        if not 0 <= train < VAL_LAYOUTS or not 1 <= val < VAL_LAYOUTS:
            raise UserError(
                f"{train} training and {val} testing images: expected 0 to {VAL_LAYOUTS - 1} and 1 "
                f"to {VAL_LAYOUTS - 1}"
            )
    if min(size) < 64 or max(size) > 4096 or size[0] % 2 or size[1] % 2:
        raise UserError(f"size {size[0]}x{size[1]}: expected even numbers from 64 to 4096")
    if not 0 <= seed < 1000:
        raise UserError(f"seed {seed}: expected 0 to 999")
    records = {
        Path(out) / f"streets_{appearance}": dict(
            version=VERSION,
            appearance=appearance,
            seed=seed,
            size=list(size),
            train=train,
            val=val,
        )
        for appearance, (train, val) in counts.items()
    }
    for root, record in records.items():
        _refuse_others(root, record)
    tasks = []
    for root, record in records.items():
        appearance, train, val = (record[key] for key in ("appearance", "train", "val"))
        if not (root / RECORD).exists():
            _write_json(root / RECORD, record)
        layout = LAYOUTS_ON_DISK[appearance]
        if layout is as_gta5:
            split = dict(train=[[1, train]], val=[[train + 1, train + val]])
            _write_json(root / "split.json", split)
        tasks += [
            (appearance, picture)
            for picture in layout(root, train, val)
            if not (picture.image.exists() and picture.label.exists())
        ]
    try:
        _in_parallel(partial(_draw, size, seed), tasks)
    except (MemoryError, BrokenProcessPool) as error:
        raise UserError(
            f"too little memory for pictures of {size[0]}x{size[1]}, one on each core; draw smaller"
        ) from error
    return list(records)


def layout_number(seed: int, layout: int) -> int:
    """The number of a seed's layout among those of all seeds; val's begin at ``VAL_LAYOUTS``."""
    return 4 * VAL_LAYOUTS * seed + layout


def _refuse_others(root: Path, record: Mapping) -> None:
    """Raises a UserError if a folder holds anything but streets of this record."""
    if not root.exists() or (root.is_dir() and not [*root.glob("[!.]*")]):
        return
    try:
        found = {**json.loads((root / RECORD).read_text())}
    except (OSError, ValueError, TypeError):
        raise UserError(f"{root}: not a folder of streets; give another, or remove it") from None
    for key, value in record.items():
        if found.get(key) != value:
            raise UserError(
                f"{root}: its streets have {key} {found.get(key)}, not {value}; give another "
                "folder, or remove it"
            )


def _write_json(path: Path, content: dict) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def _draw(size: tuple[int, int], seed: int, task: tuple[str, Picture]) -> None:
    """Draws one picture and writes its image and its label."""
    appearance, picture = task
    number = layout_number(seed, picture.layout)
    raster = rasterise(draw_layout(number), *size)
    _, png = cv2.imencode(".png", render(raster, appearance, number)[..., ::-1])
    with written_whole(picture.image) as temporary:
        temporary.write_bytes(png)
    label = Image.fromarray(raster.labels)
    if picture.palette:
        label.putpalette(picture.palette)
    with written_whole(picture.label) as temporary:
        label.save(temporary)


def _in_parallel(work: Callable, tasks: Sequence) -> None:
    """Does all tasks, on all cores that the process may use, under a bar with the time left."""
    if not tasks:
        return
    share = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    pool = ProcessPoolExecutor(min(len(share), len(tasks)), initializer=_start_worker)
    try:
        done = [pool.submit(work, task) for task in tasks]
        with bar() as progress:
            drawn = progress.add_task("Drawing streets", total=len(tasks))
            for future in as_completed(done):
                future.result()
                progress.advance(drawn)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to stop
    cv2.setNumThreads(0)
