"""Lossless formats for prepared images: their size, writing, and reading a random crop.

Run as ``python -m benchmarks formats``, on one thread; it prints the table of docs/performance.md.
Formats whose package is missing are named and left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.measure import alternately
from benchmarks.samples import pairs, write_photographs
from benchmarks.table import line
from ibnseg.support.errors import UserError

CROP = 715
"""The side of a crop that is read."""
CHUNK = (256, 256, 3)
DOWNLOADED = "PNG, as downloaded"
"""What each format is compared with."""
WRITINGS = 3
"""How often each image is written; the median counts."""

Window = tuple[slice, slice]
"""The rows and columns of a crop."""


class Format(NamedTuple):
    """A lossless format of images, (H, W, 3) uint8 BGR."""

    name: str
    write: Callable[[Path, np.ndarray], object]
    read: Callable[[Path, Window], np.ndarray]
    """Reads a crop, which may be a view of what is decoded."""
    package: str = "cv2"
    """The package to import for it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks formats", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=20, help="how long to read (default 20)")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    there = [each for each in FORMATS if find_spec(each.package)]
    for package in {each.package for each in there}:
        ON_ONE_THREAD.get(package, lambda: None)()
    with tempfile.TemporaryDirectory() as folder:
        print(table(there, Path(folder), args.seconds))
    absent = [each for each in FORMATS if each not in there]
    if absent:
        packages = " ".join(dict.fromkeys(each.package for each in absent))
        names = "; ".join(each.name for each in absent)
        print(f"\nNot measured: {names}. For these, pip install {packages}")
    return 0


def table(formats: Sequence[Format], folder: Path, seconds: float = 20) -> str:
    """Measures formats on drawn streets, and returns the table in Markdown.

    Args:
        formats: formats whose packages are there.
        folder: an empty folder, into which the images are written.
        seconds: how long all of them are read, in turn.

    Raises:
        UserError: if a format gives other bits than it was given.
    """
    write_photographs(folder)
    images = [Path(image) for image, _ in pairs(folder)]
    pixels = [cv2.imread(str(image)) for image in images]
    rng = np.random.default_rng(0)
    readings = {DOWNLOADED: partial(_read_crops, _read, images, rng)}
    written = {DOWNLOADED: (mean(map(_size, images)), "")}
    for i, each in enumerate(formats):
        files = [folder / f"{i}-{j}" for j in range(len(pixels))]
        times = [_seconds_to_write(each, *pair) for pair in zip(files, pixels, strict=True)]
        for file, image in zip(files, pixels, strict=True):
            require_same_bits(each, file, image, _window(rng, image.shape))
        readings[each.name] = partial(_read_crops, each.read, files, rng)
        written[each.name] = mean(map(_size, files)), f"{1000 * mean(times):.0f} ms"
    raw = mean(image.nbytes for image in pixels)
    text = "| format | MB an image | share of raw | writing | reading a crop | beside PNG |\n"
    text += "| --- | ---: | ---: | ---: | ---: | ---: |\n"
    found = alternately(readings, seconds, warm_up=1)
    for name, times in found.items():
        size, writing = written[name]
        reading = 1000 * median(times) / len(images)
        ratio = median(a / b for a, b in zip(times, found[DOWNLOADED], strict=True))
        cells = [name, f"{size / 1e6:.2f}", f"{size / raw:.2f}", writing]
        cells += [f"{reading:.1f} ms", f"{ratio:.3f}"]
        text += f"{line(cells)}\n"
    return text.rstrip()


def require_same_bits(one: Format, file: Path, image: np.ndarray, window: Window) -> None:
    """Checks that a crop of a written image has the image's bits.

    Raises:
        UserError: if it has others.
    """
    if not np.array_equal(one.read(file, window), image[window]):
        raise UserError(f"{one.name}: a crop has other bits than the image")


def _read_crops(read: Callable, files: Sequence[Path], rng: np.random.Generator) -> None:
    for file in files:
        np.ascontiguousarray(read(file, _window(rng, (1024, 2048))))


def _window(rng: np.random.Generator, shape: Sequence[int]) -> Window:
    top, left = (int(rng.integers(0, side - CROP + 1)) for side in shape[:2])
    return slice(top, top + CROP), slice(left, left + CROP)


def _seconds_to_write(one: Format, file: Path, image: np.ndarray) -> float:
    times = []
    for _ in range(WRITINGS):
        start = perf_counter()
        one.write(file, image)
        times.append(perf_counter() - start)
    return median(times)


def _size(file: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    parts = (each for each in file.rglob("*") if each.is_file()) if file.is_dir() else [file]
    return sum(each.stat().st_size for each in parts)


def _read(file: Path, window: Window) -> np.ndarray:
    return cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)[window]


def _by_opencv(name: str, suffix: str, *options: int) -> Format:
    def write(file: Path, image: np.ndarray) -> None:
        cv2.imencode(suffix, image, options)[1].tofile(file)

    return Format(name, write, _read)


def _write_npy(file: Path, image: np.ndarray) -> None:
    with file.open("wb") as stream:
        np.save(stream, image)


def _read_npy(file: Path, window: Window) -> np.ndarray:
    return np.load(file, mmap_mode="r")[window]


def _write_blosc2(file: Path, image: np.ndarray) -> None:
    import blosc2

    codec = dict(codec=blosc2.Codec.LZ4)
    blosc2.asarray(image, urlpath=str(file), mode="w", chunks=CHUNK, cparams=codec)


def _read_blosc2(file: Path, window: Window) -> np.ndarray:
    import blosc2

    return blosc2.open(str(file), mode="r")[window]


def _zarr(chunk: Sequence[int], compressor: str) -> Format:
    def write(file: Path, image: np.ndarray) -> None:
        import zarr

        codec = zarr.codecs.BloscCodec(cname=compressor, shuffle="noshuffle")
        zarr.create_array(file, data=image, chunks=chunk, compressors=codec, overwrite=True)

    def read(file: Path, window: Window) -> np.ndarray:
        import zarr

        return zarr.open_array(file, mode="r")[window]

    size = "x".join(map(str, chunk[:2]))
    return Format(f"Zarr 3, chunks of {size}, blosc {compressor}", write, read, "zarr")


def _by_imagecodecs(name: str, codec: str, **options: object) -> Format:
    """A format of the package imagecodecs; channels are stored in the order in which they come."""

    def write(file: Path, image: np.ndarray) -> None:
        encode = getattr(import_module("imagecodecs"), f"{codec}_encode")
        file.write_bytes(encode(image, **options))

    def read(file: Path, window: Window) -> np.ndarray:
        decode = getattr(import_module("imagecodecs"), f"{codec}_decode")
        return decode(file.read_bytes())[window]

    return Format(name, write, read, "imagecodecs")


def _blosc2_on_one_thread() -> None:
    import blosc2

    blosc2.set_nthreads(1)


def _zarr_on_one_thread() -> None:
    import numcodecs.blosc
    import zarr

    numcodecs.blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})


ON_ONE_THREAD = {"blosc2": _blosc2_on_one_thread, "zarr": _zarr_on_one_thread}

FORMATS = (
    _by_opencv("PNG, level 1 (OpenCV)", ".png", cv2.IMWRITE_PNG_COMPRESSION, 1),
    _by_imagecodecs("PNG, level 1 (libspng)", "spng", level=1),
    Format("**`.npy`, mapped into memory**", _write_npy, _read_npy),
    Format("Blosc2, chunks of 256x256, lz4", _write_blosc2, _read_blosc2, "blosc2"),
    _zarr((128, 2048, 3), "lz4"),
    _zarr(CHUNK, "lz4"),
    _zarr(CHUNK, "zstd"),
    _by_imagecodecs("QOI", "qoi"),
    _by_opencv("WebP", ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    _by_imagecodecs("JPEG XL, effort 1", "jpegxl", lossless=True, effort=1, numthreads=1),
    _by_imagecodecs("JPEG-LS", "jpegls"),
)
