"""Finds the label map of each image among the files of a folder, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path

from ibnseg.runs.recipe import hash_of
from ibnseg.support.data_files import count_by_suffix, list_files_below
from ibnseg.support.errors import UserError
from ibnseg.support.files import sha256
from ibnseg.support.progress import with_bar_if_long
from ibnseg.support.reading import regular_file

SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""The suffixes of label maps: formats that keep each value."""

THREADS = 16
"""The files that are read at a time, because a network disk takes milliseconds to open one."""

NAMED = 3
"""The files that an error names."""

HOW = (
    "a map is called as its image, and may lie in the same folders below any of those that the "
    "image is in, or in one that is called as the domain"
)
"""How a map is found, for errors."""


def list_maps(folder: Path) -> dict[str, Path]:
    """Lists the maps below a folder, sorted, by their paths in it without the suffix.

    Raises:
        UserError: if there are none, two differ by their suffixes alone, or the folder cannot be
            read.
    """
    if not folder.is_dir():
        wrong = "is no folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {wrong}; expected a folder of label maps")
    maps: dict[str, Path] = {}
    for path in list_files_below(folder, *SUFFIXES):
        other = maps.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if other != path:
            raise UserError(f"{path}: two maps for one image, with {other.name}; remove one")
    if not maps:
        others = list_files_below(folder)
        found = f"; it has {count_by_suffix(others)}" if others else ""
        raise UserError(f"{folder}: no label maps ({', '.join(SUFFIXES)}){found}")
    return maps


def digest_of(maps: Mapping[str, Path]) -> str:
    """Hashes the names and contents of maps; a file that has not changed is read once in a process.

    Args:
        maps: from :func:`list_maps`.

    Raises:
        UserError: for a file that cannot be read.
    """
    with ThreadPool(THREADS) as pool:
        found = pool.imap(_hash, maps.values(), chunksize=16)
        hashes = list(with_bar_if_long(found, len(maps), "Reading label maps"))
    return hash_of(dict(zip(maps, hashes, strict=True)))


def _hash(path: Path) -> str:
    state = regular_file(path).stat()
    return _hash_of(path, state.st_size, state.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def match(maps: Mapping[str, Path], images: Mapping[str, Mapping[str, str]]) -> dict[str, Path]:
    """Finds the map of each image.

    It has the image's name, and lies in the folders of a part of the image's path below the
    domain's root, beginning anywhere on the way; the domain's name may precede them. Where no map
    is so found, the one that has the image's name is taken, wherever it lies.

    Args:
        maps: from :func:`list_maps`.
        images: by the names of domains, paths of images, by those below the domain's root.

    Returns:
        The path of its map, by the path of each image.

    Raises:
        UserError: for images without a map or with several, maps of several images, and maps of
            none; it names the first ones.
    """
    found = {
        image: [key for key in _keys(domain, below) if key in maps]
        for domain, of_domain in images.items()
        for below, image in of_domain.items()
    }
    taken = {key for keys in found.values() for key in keys}
    by_stem: dict[str, list[str]] = {}
    for key in maps.keys() - taken:
        by_stem.setdefault(_stem(key), []).append(key)
    for image, keys in found.items():
        keys += () if keys else sorted(by_stem.get(Path(image).stem, ()))
    _require_one_each(maps, found)
    return {image: maps[key] for image, (key,) in found.items()}


def _keys(domain: str, below: str) -> list[str]:
    """The names by which the map of an image is known, given its path below the domain's root."""
    parts = Path(below).with_suffix("").parts
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys([*ends, *(f"{domain}/{end}" for end in ends)]))


def _stem(key: str) -> str:
    return key.rpartition("/")[2]


def _require_one_each(maps: Mapping[str, Path], found: Mapping[str, Sequence[str]]) -> None:
    several = [image for image, keys in found.items() if len(keys) > 1]
    if several:
        own = [str(maps[key]) for key in found[several[0]]]
        raise UserError(
            f"{several[0]}: {len(own)} label maps could be its own, {_first(own)}"
            f"{_more(several)}; leave one of them"
        )
    of_map: dict[str, list[str]] = {}
    for image, keys in found.items():
        for key in keys:
            of_map.setdefault(key, []).append(image)
    shared = [key for key, images in of_map.items() if len(images) > 1]
    if shared:
        raise UserError(
            f"{maps[shared[0]]}: one label map for {len(of_map[shared[0]])} images, "
            f"{_first(of_map[shared[0]])}{_more(shared)}; {HOW}"
        )
    extra = [str(maps[key]) for key in maps if key not in of_map]
    missing = [image for image, keys in found.items() if not keys]
    if missing:
        none = f"; maps of none of them: {len(extra)}, {_first(extra)}" if extra else ""
        raise UserError(
            f"images without a label map: {len(missing)} of {len(found)}, {_first(missing)}{none}; "
            f"{HOW}"
        )
    if extra:
        raise UserError(
            f"label maps of no tested image: {len(extra)} of {len(maps)}, {_first(extra)}; test on "
            "their domain too (--domains), or remove them"
        )


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more such)" if len(names) > 1 else ""
