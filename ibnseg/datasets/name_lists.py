"""Lists of image names that come with a download, one path a line."""

from __future__ import annotations

from pathlib import Path

from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_text


def listed_names(path: Path, folder: str, suffix: str) -> list[str]:
    """Reads the images that a list names.

    Args:
        path: the list.
        folder: the folder that each line begins with.
        suffix: what each line ends with, e.g. ``_leftImg8bit.png``.

    Returns:
        The names without folder and suffix, in the order of the list; none if there is no list.

    Raises:
        UserError: if the list cannot be read, or a line of it has another form.
    """
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        name = line.strip()
        if name and not (name.startswith(f"{folder}/") and name.endswith(suffix)):
            raise UserError(
                f"{path}, line {number}: is {name!r:.200}, expected {folder}/<name>{suffix}"
            )
        if name:
            found.append(name.removeprefix(f"{folder}/").removesuffix(suffix))
    return found


def listed_pairs(
    path: Path, names: list[str], images: dict[str, Path], labels: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Keeps the images and labels that a list names.

    Args:
        path: the list, for errors.
        names: the names that it has.
        images, labels: all files by name.

    Raises:
        UserError: if a part of the names has neither image nor label.
    """
    kept = [{key: files[key] for key in names if key in files} for files in (images, labels)]
    absent = [name for name in names if name not in kept[0] and name not in kept[1]]
    if 0 < len(absent) < len(names):
        raise UserError(
            f"{path}: lists {len(names)} images, of which {len(absent)} are not there, the first "
            f"is {absent[0]}; unpack the whole download"
        )
    return kept[0], kept[1]
