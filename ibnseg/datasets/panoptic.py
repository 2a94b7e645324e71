"""Labels that are downloaded as segments: PNG in the form of COCO panoptic, and a JSON file that
says which class each segment has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ibnseg.datasets.pictures import read_label
from ibnseg.datasets.sizes import stored_size
from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_json

FORM = (
    '{"annotations": [{"file_name": NAME, "segments_info": [{"id": N, "category_id": N}, ...]}, '
    "...]}"
)
"""What the JSON file has, for error messages."""

ADVICE = "unpack or download it again"

_COLORS = 1 << 24


class Panoptic:
    """Looks up the class of each segment; the id of a segment is R + 256 G + 65536 B of its colour.

    Args:
        path: the JSON file.
        background: the id of pixels whose segment is not listed.

    Raises:
        UserError: if the file is missing, or not of the form :data:`FORM`.
    """

    def __init__(self, path: Path, background: int) -> None:
        self._path, self._background = path, background
        self._segments = dict(_annotations(path, read_json(path, ADVICE)))

    @property
    def categories(self) -> set[int]:
        """The ids of the classes that occur."""
        return {int(each) for _, ids in self._segments.values() for each in ids}

    def ids(self, path: str | Path) -> np.ndarray:
        """Reads a label, (H, W) uint8.

        Raises:
            UserError: if it is missing, damaged or not RGB, or the JSON file does not list it.
        """
        name = Path(path).name
        if name not in self._segments:
            raise UserError(f"{path}: has no annotation in {self._path}; {ADVICE}")
        colors = read_label(path)
        if colors.ndim != 3:
            raise UserError(f"{path}: is not RGB, expected the segments of {self._path}; {ADVICE}")
        table = np.full(_COLORS, self._background, np.uint8)
        segments, ids = self._segments[name]
        table[segments] = ids
        red, green, blue = (colors[..., i].astype(np.int32) for i in range(3))
        return table[red | green << 8 | blue << 16]

    def size(self, path: str | Path) -> tuple[int, int]:
        """The (width, height) of a label.

        Raises:
            UserError: if it is missing, or no image.
        """
        return stored_size(path)

    def identity(self) -> str:
        """A hash of the segments, and the id of those that are not listed."""
        digest = hashlib.sha256(str(self._background).encode())
        for name in sorted(self._segments):
            digest.update(b"".join([name.encode(), *(e.tobytes() for e in self._segments[name])]))
        return digest.hexdigest()


def _annotations(path: Path, found: object) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Gives the name of each label, and the ids of its segments and of their classes."""
    listed = found.get("annotations") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise UserError(f"{path}: has no annotations, expected {FORM}; {ADVICE}")
    for number, each in enumerate(listed):
        try:
            name, infos = each["file_name"], each["segments_info"]
            segments, ids = (
                np.array([info[key] for info in infos], np.int64) for key in ("id", "category_id")
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{path}: annotation {number} has no segments ({error!r}), expected {FORM}; "
                f"{ADVICE}"
            ) from error
        for values, most in ((segments, _COLORS - 1), (ids, 255)):
            wrong = values[(values < 0) | (values > most)]
            if len(wrong):
                raise UserError(
                    f"{path}: annotation {number} has the id {wrong[0]}, expected 0 to {most}; "
                    f"{ADVICE}"
                )
        yield str(name), (segments.astype(np.int32), ids.astype(np.uint8))
