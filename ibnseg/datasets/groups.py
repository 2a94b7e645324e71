"""Which images of a domain are alike: frames of one city, drive or stretch are no independent
samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath


def by_city(names: Sequence[str]) -> list[str]:
    """The folder that an image lies in, as in Cityscapes: ``.../frankfurt/<frame>.png``."""
    return [PurePosixPath(name).parent.name for name in names]


def by_sequence(names: Sequence[str]) -> list[str]:
    """What a file's name begins with, up to the first underscore, as in CamVid:
    ``0001TP_006690``."""
    return [PurePosixPath(name).stem.split("_")[0] for name in names]


def by_stretch(names: Sequence[str]) -> list[str]:
    """Files of consecutive numbers, as in GTA5, called by the first number.

    GTA5's official split keeps such stretches together: its val has 242 of them.

    Raises:
        ValueError: for a name that is no number.
    """
    numbers = {name: int(PurePosixPath(name).stem) for name in names}
    first, last, stretch = None, None, {}
    for name in sorted(numbers, key=lambda name: numbers[name]):
        if last is None or numbers[name] > last + 1:
            first = PurePosixPath(name).stem
        last, stretch[name] = numbers[name], first
    return [stretch[name] for name in names]


def by_image(names: Sequence[str]) -> list[str]:
    """Each image is its own: nothing is known that makes some of them alike."""
    return list(names)


GROUPS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "city": by_city,
    "sequence": by_sequence,
    "stretch": by_stretch,
    "image": by_image,
}
"""What a domain's ``group`` may be: functions from the paths of its images, relative to its root
and with slashes, to the names of their groups."""
