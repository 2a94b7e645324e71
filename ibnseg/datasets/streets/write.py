"""Generated streets on disk, laid out as GTA5 or as Cityscapes lies there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ibnseg.datasets.labels import CITYSCAPES_IDS, LABELS, lookup_table
from ibnseg.datasets.streets.appearance import APPEARANCES, render
from ibnseg.datasets.streets.layout import draw_layout
from ibnseg.datasets.streets.raster import rasterise
from ibnseg.draw import colored, contact_sheet
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


class Frame(NamedTuple):
    """One picture: which layout it shows, and its files."""

    layout: int
    image: Path
    label: Path


def gta5_frames(root: Path, train: int, val: int) -> Iterator[Frame]:
    """Flat folders, numbered through; see :class:`ibnseg.datasets.GTA5`."""
    layouts = [*range(train), *range(VAL_LAYOUTS, VAL_LAYOUTS + val)]
    for number, layout in enumerate(layouts, 1):
        name = f"{number:05d}.png"
        yield Frame(layout, root / "images" / name, root / "labels" / name)


def cityscapes_frames(root: Path, train: int, val: int) -> Iterator[Frame]:
    """Folders of cities; see :class:`ibnseg.datasets.Cityscapes`."""
    for split, count, first in (("train", train, 0), ("val", val, VAL_LAYOUTS)):
        for i in range(count):
            city = CITIES[split][i * len(CITIES[split]) // count]
            name = f"{city}_{i:06d}_000019"
            yield Frame(
                first + i,
                root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
                root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png",
            )


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
        UserError: for wrong arguments, and for a folder that holds something else.
    """
    folders = {appearance: Path(out) / f"streets_{appearance}" for appearance in counts}
    for appearance, (train, val) in counts.items():
        if appearance not in APPEARANCES:
            raise unknown_name("appearance", appearance, APPEARANCES)
        if not 0 <= train < VAL_LAYOUTS or not 1 <= val < VAL_LAYOUTS:
            raise UserError(f"{train} training and {val} testing images: expected at least 0 and 1")
    if min(size) < 64 or max(size) > 4096 or size[0] % 2 or size[1] % 2:
        raise UserError(f"size {size[0]}x{size[1]}: expected even numbers from 64 to 4096")
    if not 0 <= seed < 1000:
        raise UserError(f"seed {seed}: expected 0 to 999")
    tasks = []
    for appearance, (train, val) in counts.items():
        root = folders[appearance]
        made = dict(version=VERSION, seed=seed, size=list(size), train=train, val=val)
        _require_same(root, dict(appearance=appearance, **made))
        if appearance == "virtual":
            split = dict(train=[[1, train]], val=[[train + 1, train + val]])
            _write_json(root / "split.json", split)
        frames = (gta5_frames if appearance == "virtual" else cityscapes_frames)(root, train, val)
        tasks += [(appearance, f) for f in frames if not (f.image.exists() and f.label.exists())]
    _in_parallel(partial(_draw, size, seed), tasks)
    return list(folders.values())


def draw_sheet(
    path: str | Path,
    appearances: Sequence[str],
    *,
    size: tuple[int, int] = (512, 256),
    seed: int = 0,
    count: int = 3,
) -> None:
    """Draws the first layouts of the val split in several appearances, and their labels, on one
    sheet.

    Args:
        path: of the PNG or JPEG to write.
        appearances: of ``APPEARANCES``.
        size, seed: as for :func:`write_streets`.
        count: of layouts.
    """
    rows = []
    for layout in range(VAL_LAYOUTS, VAL_LAYOUTS + count):
        number = _layout_number(seed, layout)
        raster = rasterise(draw_layout(number), *size)
        pictures = [render(raster, appearance, number) for appearance in appearances]
        labels = lookup_table(CITYSCAPES_IDS)[raster.labels]
        rows.append([*pictures, colored(labels)])
    sheet = contact_sheet("The same streets in several looks", (*appearances, "labels"), rows)
    with written_whole(path) as temporary:
        Image.fromarray(sheet).save(temporary, quality=88)


def _layout_number(seed: int, layout: int) -> int:
    return 4 * VAL_LAYOUTS * seed + layout


def _require_same(root: Path, made: dict) -> None:
    """Writes what a folder's streets are made with, or compares it with what is there."""
    path = root / RECORD
    if not root.exists() or (root.is_dir() and not [*root.glob("[!.]*")]):
        _write_json(path, made)
        return
    try:
        found = {**json.loads(path.read_text())}
    except (OSError, ValueError, TypeError):
        raise UserError(f"{root}: not a folder of streets; give another, or remove it") from None
    for key, value in made.items():
        if found.get(key) != value:
            raise UserError(
                f"{root}: its streets have {key} {found.get(key)}, not {value}; give another "
                "folder, or remove it"
            )


def _write_json(path: Path, content: dict) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def _draw(size: tuple[int, int], seed: int, task: tuple[str, Frame]) -> None:
    """Draws one picture and writes its image and its label."""
    appearance, frame = task
    number = _layout_number(seed, frame.layout)
    raster = rasterise(draw_layout(number), *size)
    _, png = cv2.imencode(".png", render(raster, appearance, number)[..., ::-1])
    with written_whole(frame.image) as temporary:
        temporary.write_bytes(png)
    label = Image.fromarray(raster.labels)
    if appearance == "virtual":
        label.putpalette(_GTA5_PALETTE)
    with written_whole(frame.label) as temporary:
        label.save(temporary)


_GTA5_PALETTE = np.array(
    [(20, 20, 20) if label.name == "static" else label.color for label in LABELS], np.uint8
).tobytes()


def _in_parallel(work: Callable, tasks: Sequence) -> None:
    """Does all tasks, on all cores, under a bar with the time left."""
    workers = max(1, min(os.cpu_count() or 1, len(tasks)))
    with (
        bar(hidden=not tasks) as progress,
        ProcessPoolExecutor(workers, initializer=_start_worker) as pool,
    ):
        drawn = progress.add_task("Drawing streets", total=len(tasks))
        done = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(done):
                future.result()
                progress.advance(drawn)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to stop
    cv2.setNumThreads(0)
