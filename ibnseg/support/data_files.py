"""Lists the files that are data, without those that other programs and killed processes left there.

All adapters and commands list data by these functions: names that begin with a dot and those in
:data:`FOREIGN` are left out, suffixes count in upper and lower case, and links are followed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ibnseg.support.errors import UserError

FOREIGN = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "@eadir",
    }
)
"""Names, in lower case, of what operating systems and file servers leave in folders of data."""

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".dib",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
)
"""The suffixes, in lower case, of the still images that OpenCV and Pillow both read."""


def is_foreign(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data: hidden, temporary, or of a system."""
    return name.startswith(".") or name.lower() in FOREIGN


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file's name ends in one of some suffixes, in upper or lower case."""
    return path.name.lower().endswith(tuple(suffix.lower() for suffix in suffixes))


def list_files(folder: str | Path, *suffixes: str) -> list[Path]:
    """Lists the data files in a folder, sorted; none if the folder is missing.

    Args:
        folder: the folder, whose sub-folders are not looked into.
        suffixes: what names have to end in, such as ``_labelIds.png``; anything if none is given.

    Raises:
        UserError: if the folder cannot be read.
    """
    files = (Path(entry) for entry in _entries(folder) if not _is_folder(entry))
    return sorted(path for path in files if has_suffix(path, suffixes or ("",)))


def list_folders(folder: str | Path) -> list[Path]:
    """Lists the sub-folders of a folder that may hold data, sorted; none if the folder is missing.

    Raises:
        UserError: if the folder cannot be read.
    """
    return sorted(Path(entry) for entry in _entries(folder) if _is_folder(entry))


def list_files_below(folder: str | Path, *suffixes: str) -> list[Path]:
    """Lists the data files in a folder and in all its sub-folders, sorted.

    Args:
        folder, suffixes: as for :func:`list_files`.

    Raises:
        UserError: if a folder cannot be read.
    """
    places = walk_folders(folder)
    return sorted(path for place in places for path in list_files(place, *suffixes))


def walk_folders(folder: str | Path) -> Iterator[Path]:
    """Yields a folder, then all folders below it that may hold data, parents first, sorted.

    Links are followed. A link to a folder that contains it is left out, because it has no end.

    Raises:
        UserError: if a folder cannot be read.
    """
    return _walk(Path(folder), frozenset())


def files_by_name(folder: str | Path, *suffixes: str) -> dict[str, Path]:
    """Lists the data files in a folder by their names without the suffix.

    Args:
        folder, suffixes: as for :func:`list_files`; of several suffixes that a name ends in, the
            longest one counts.

    Raises:
        UserError: if the folder cannot be read, or two files have one name.
    """
    found: dict[str, Path] = {}
    for path in list_files(folder, *suffixes):
        suffix = max((each for each in suffixes if has_suffix(path, [each])), key=len)
        other = found.setdefault(path.name[: len(path.name) - len(suffix)], path)
        if other != path:
            raise UserError(
                f"{path}: the same name also exists as {other.name}; remove one of them"
            )
    return found


def files_by_place(folder: str | Path, *suffixes: str) -> dict[str, Path]:
    """Lists the data files in a folder and in all its sub-folders, by their places in it, with
    slashes and without the suffix, e.g. ``zurich/zurich_000001``.

    Args:
        folder, suffixes: as for :func:`files_by_name`.

    Raises:
        UserError: as :func:`files_by_name`.
    """
    return {
        (each.relative_to(folder) / name).as_posix(): path
        for each in walk_folders(folder)
        for name, path in files_by_name(each, *suffixes).items()
    }


def count_by_suffix(files: Iterable[Path]) -> str:
    """Counts files by their suffixes, in words, e.g. ``2 .gif, 1 without suffix``."""
    counts = Counter(path.suffix.lower() or "without suffix" for path in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())


def _entries(folder: str | Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_foreign(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which whoever reads it will name
        return False


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Yields a folder and those below; ``above`` identifies the folders that it was reached by."""
    try:
        facts = folder.stat()
    except OSError:
        return
    here = (facts.st_dev, facts.st_ino)
    if here in above:
        return
    yield folder
    for each in list_folders(folder):
        yield from _walk(each, above | {here})
