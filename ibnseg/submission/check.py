"""Checks an archive: opens it and examines every member."""

from __future__ import annotations

import io
import lzma
import threading
import zipfile
from collections import Counter
from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ibnseg.datasets.drivable import maps_of_another_release, release_of
from ibnseg.datasets.pictures import UNREADABLE, verify
from ibnseg.submission.target import Target
from ibnseg.support.errors import UserError
from ibnseg.support.progress import bar
from ibnseg.support.reading import in_mib, regular_file, require_plain_archive


class Summary(NamedTuple):
    """What a checked archive holds."""

    members: int
    pixels: dict[int, int]  # the number of pixels of each id that occurs


class Member(NamedTuple):
    """What was found in a member."""

    problem: str | None  # what is wrong with it, in words
    pixels: np.ndarray  # (256,) int64, the number of pixels of each id
    release: str | None  # the release whose ids a drivable map has, if that is known


def check_archive(
    path: str | Path,
    target: Target,
    sizes: Mapping[str, tuple[int, int]],
    name: str | None = None,
) -> Summary:
    """Checks that an archive is what a target takes for some images.

    There is one PNG for each image and nothing else. Each is whole, has one channel of 8 bits and
    the size of its image, and only ids that the target takes. A drivable map must not have the ids
    of the other release, which its upper tenth shows.

    Args:
        path: the zip.
        target: the benchmark that it is for.
        sizes: (width, height) of the images, by the names of their members.
        name: what errors call the archive; its path if None.

    Raises:
        UserError: naming the archive, the member, what was found and what is expected.
    """
    name = name or str(path)
    try:
        archive = zipfile.ZipFile(regular_file(path))
    except _UNREADABLE as error:
        raise UserError(f"{name}: cannot be opened as a zip ({error}); write it again") from error
    with archive:
        _require_names(archive, name, sizes)
        _require_sizes(archive, name, sizes)
        found = _read_members(archive, target, sizes)
    wrong = {member: each.problem for member, each in found.items() if each.problem}
    if wrong:
        first = min(wrong)
        more = f" (and {len(wrong) - 1} more members are wrong)" if len(wrong) > 1 else ""
        raise UserError(f"{name}: {first}: {wrong[first]}{more}")
    if target.drivable_release:
        releases = {member: each.release for member, each in found.items()}
        others = maps_of_another_release(releases, target.drivable_release)
        if others:
            raise UserError(
                f"{name}: {min(others)}: has the ids of another release in {len(others)} of "
                f"{len(found)} members, as its upper tenth tells; {target.title} takes "
                f"{_ids_in_words(target)}"
            )
    pixels = sum(each.pixels for each in found.values())
    return Summary(len(found), {i: int(n) for i, n in enumerate(pixels) if n})


def _ids_in_words(target: Target) -> str:
    pairs = sorted(
        (id_, target.class_set.classes[train_id]) for train_id, id_ in target.ids.items()
    )
    return ", ".join(f"{id_} {name}" for id_, name in pairs)


def _require_names(archive: zipfile.ZipFile, name: str, sizes: Mapping[str, object]) -> None:
    """Raises a UserError unless there is one member for each image, and nothing else."""
    counts = Counter(info.filename for info in archive.infolist() if not info.is_dir())
    twice = sorted(member for member, count in counts.items() if count > 1)
    missing, extra = sorted(sizes.keys() - counts), sorted(counts.keys() - sizes.keys())
    for members, what in (
        (twice, "is there twice; expected one file an image"),
        (missing, "is missing; expected one file an image"),
        (extra, "is of no image; expected one file an image and nothing else, no folders"),
    ):
        if members:
            more = f" (and {len(members) - 1} more)" if len(members) > 1 else ""
            raise UserError(f"{name}: {members[0]}: {what}{more}; write the archive again")


def _require_sizes(
    archive: zipfile.ZipFile, name: str, sizes: Mapping[str, tuple[int, int]]
) -> None:
    """Raises a UserError for a member that unpacks to more than an uncompressed PNG of its image
    has, and for anything before or after the archive."""
    most = {member: 2 * width * height + 2**16 for member, (width, height) in sizes.items()}
    for info in archive.infolist():
        if info.file_size > most.get(info.filename, 0):
            raise UserError(
                f"{name}: {info.filename}: unpacks to {in_mib(info.file_size)}, expected at most "
                f"{in_mib(most.get(info.filename, 0))}; write the archive again"
            )
    try:
        require_plain_archive(archive, sum(most.values()))
    except ValueError as error:
        raise UserError(f"{name}: {error}; write the archive again") from error


def _read_members(
    archive: zipfile.ZipFile, target: Target, sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Member]:
    """Reads all members, by as many threads as there are processors; Pillow decodes without the
    interpreter's lock."""
    lock = threading.Lock()

    def read(member: str) -> Member:
        try:
            with lock:
                content = archive.read(member)
            with Image.open(io.BytesIO(content)) as image:
                problem = _problem_of_header(image, target, sizes[member])
                if problem:
                    return Member(problem, _NONE, None)
                verify(content)
                ids = np.asarray(image)
        except UnidentifiedImageError:
            return Member("is no image, expected PNG", _NONE, None)
        except _UNREADABLE as error:
            return Member(f"cannot be read ({error}); expected a PNG", _NONE, None)
        pixels = np.bincount(ids.ravel(), minlength=256)
        release = release_of(ids) if target.drivable_release else None
        return Member(_problem_of_ids(pixels, target), pixels, release)

    members = sorted(sizes)
    with ThreadPool() as pool, bar() as progress:
        found = pool.imap(read, members, chunksize=4)
        return dict(
            zip(members, progress.track(found, len(members), description="Checking"), strict=True)
        )


_NONE = np.zeros(256, np.int64)

_UNREADABLE = (
    *UNREADABLE,
    RuntimeError,  # encrypted, or of a kind of zip that zipfile does not read
    zipfile.BadZipFile,
    lzma.LZMAError,
)
"""What zipfile and Pillow raise for what they cannot read."""


def _problem_of_header(image: Image.Image, target: Target, size: tuple[int, int]) -> str | None:
    if image.format != "PNG":
        return f"is {image.format}, expected PNG"
    if image.mode not in target.modes:
        return f"has mode {image.mode}, expected one channel of 8 bits (L)"
    if image.size != tuple(size):
        found, expected = ("x".join(map(str, each)) for each in (image.size, size))
        return f"is of {found}, expected {expected}, the size of its image"
    return None


def _problem_of_ids(pixels: np.ndarray, target: Target) -> str | None:
    wrong = [str(id_) for id_ in np.flatnonzero(pixels) if id_ not in target.ids.values()]
    if not wrong:
        return None
    return f"has ids {', '.join(wrong)}; {target.title} takes {_ids_in_words(target)}"
