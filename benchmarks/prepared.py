"""Training samples from a prepared store, 2048x1024 to a crop of 713, beside mmseg's from PNG."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import Row, alternately, compare
from benchmarks.samples import (
    CROP,
    IMAGES,
    PEER,
    SIZE,
    cityscapes,
    mmseg_samples,
    samples_of,
    write_photographs,
)
from ibnseg.datasets.prepare import prepare

FILES = "ibnseg from PNG"


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        root, out = Path(name) / "files", Path(name) / "prepared"
        write_photographs(root)
        prepare(["cityscapes"], out, roots={"cityscapes": str(root)})
        ways = {
            "ibnseg": samples_of(cityscapes(root, out)),
            FILES: samples_of(cityscapes(root)),
            PEER: mmseg_samples(root),
        }
        times = alternately(ways, seconds=10)
    work = f"{IMAGES} training samples, {SIZE[0]}x{SIZE[1]} to {CROP[0]}, prepared"
    return [compare(work, times, PEER, most=0.1), compare(work, times, FILES)]
