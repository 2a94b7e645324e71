"""Rules that group the images of a domain, because frames of one city, drive or stretch are alike
and no independent samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath


def by_folder(names: Sequence[str]) -> list[str]:
    """Groups images by their folder, e.g. the city in Cityscapes: ``frankfurt/<frame>.png``, or the
    drive in ACDC: ``GOPR0475/<frame>.png``."""
    return [PurePosixPath(name).parent.name for name in names]


def by_sequence(names: Sequence[str]) -> list[str]:
    """Groups images by the beginning of their names up to the first underscore, which is the drive
    in CamVid (``0001TP_006690.png``)."""
    return [PurePosixPath(name).stem.split("_")[0] for name in names]


def by_stretch(names: Sequence[str]) -> list[str]:
    """Groups files of consecutive numbers, e.g. in GTA5; a group is named after its first number.

    GTA5's official split keeps such stretches together: its val split has 242 of them.

    Raises:
        ValueError: if a name is not a number.
    """
    numbers = {name: int(PurePosixPath(name).stem) for name in names}
    first, last, stretch = None, None, {}
    for name in sorted(numbers, key=lambda name: numbers[name]):
        if last is None or numbers[name] > last + 1:
            first = PurePosixPath(name).stem
        last, stretch[name] = numbers[name], first
    return [stretch[name] for name in names]


def by_image(names: Sequence[str]) -> list[str]:
    """Makes every image a group of its own, for data of which no images are known to be alike."""
    return list(names)


GROUPS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "city": by_folder,
    "drive": by_folder,
    "sequence": by_sequence,
    "stretch": by_stretch,
    "image": by_image,
}
"""The rules that a domain can name as its ``group``. Each maps the paths of images, relative to the
root and with slashes, to the names of their groups."""
