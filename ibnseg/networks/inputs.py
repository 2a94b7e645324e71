"""Finds the images and videos that ``ibnseg predict`` is given."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ibnseg.networks import video
from ibnseg.support.data_files import (
    IMAGE_SUFFIXES,
    count_by_suffix,
    has_suffix,
    list_files_below,
)
from ibnseg.support.errors import UserError
from ibnseg.support.reading import regular_file


def is_video(path: Path) -> bool:
    """Whether a file's name ends like a video's."""
    return path.suffix.lower() in video.SUFFIXES


class Inputs(NamedTuple):
    """What was found to predict."""

    files: dict[str, Path]
    """Images and videos by the names of their predictions: relative paths without suffix."""
    left_out: list[Path]
    """Files of other suffixes."""


def find_images(source: Path, out: Path) -> Inputs:
    """Finds the images and videos to predict.

    Links to folders are followed, except those to a folder that they lie in.

    Args:
        source: a folder, or one image or video.
        out: the folder of the predictions, which is left out if it lies in ``source``.

    Raises:
        UserError: if there are none, if two have one name, or if a folder has the name of a video.
    """
    known = (*IMAGE_SUFFIXES, *video.SUFFIXES)
    if source.exists() and not source.is_dir():
        regular_file(source)
        if not has_suffix(source, known):
            raise UserError(f"{source} is not an image or video ({', '.join(known)})")
        return Inputs({source.stem: source}, [])
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or image")
    predictions = out.resolve()
    there = [
        path
        for path in list_files_below(source)
        if not path.parent.resolve().is_relative_to(predictions)
    ]
    images = [path for path in there if has_suffix(path, known)]
    left_out = [path for path in there if not has_suffix(path, known)]
    if not images:
        others = f", only {count_by_suffix(left_out)}" if left_out else ""
        raise UserError(f"{source}: no images or videos ({', '.join(known)}) in it{others}")
    found: dict[str, Path] = {}
    for path in images:
        name = path.relative_to(source).with_suffix("").as_posix()
        if name in found:
            raise UserError(
                f"{found[name]} and {path}: two images are called {name}, as their predictions "
                "would be; rename one"
            )
        found[name] = path
    for name, path in found.items():
        folders = [found.get(folder.as_posix()) for folder in PurePosixPath(name).parents]
        video_file = next((each for each in folders if each and is_video(each)), None)
        if video_file:
            raise UserError(
                f"{path} lies in a folder with the name of {video_file}, and so would the label "
                "maps of that video's frames; rename one, or give each its own --out"
            )
    return Inputs(found, left_out)
