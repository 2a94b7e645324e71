"""The store of a prepared split: decoded images and train ids, of which a crop reads only its part.

Each image and each label is an ``.npy`` of its own, which is mapped into memory. ``prepared.json``
beside them records of which files they were made, and by which tables.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, written_whole
from ibnseg.support.ledger import Ledger, recorded_stamps, stamp
from ibnseg.support.reading import DAMAGED, read_json, regular_file

VARIABLE = "IBNSEG_PREPARED"
"""The environment variable with the folder in which training looks for prepared domains."""

RECORD = "prepared.json"
VERSION = 1
"""The version of what is stored; stores of another version are refused."""

IMAGE, LABEL = ".image.npy", ".label.npy"
"""The ends of the names of stored images, (H, W, 3) uint8 BGR, and labels, (H, W) uint8 train
ids."""


class Contents(NamedTuple):
    """What a store can hold."""

    record: str
    """The name of the file that says of what it was made."""
    ends: tuple[str, str]
    """The ends of the names of a sample's two files."""
    what: str
    """What messages call its content."""
    again: str
    """What to do if the store cannot be used, for messages."""
    if_changed: str
    """What else to do if files have changed."""
    if_of_others: str
    """What to do if the folder holds a store of something else."""


PREPARED = Contents(
    RECORD,
    (IMAGE, LABEL),
    "prepared images",
    f"give `ibnseg prepare` for this domain again, or unset {VARIABLE}",
    " (with --verify if they are copies with other times)",
    f"give `ibnseg prepare` another --out, or remove the folder; or unset {VARIABLE}",
)


@dataclass(frozen=True)
class Store:
    """The folder of a prepared split, and what decides its content."""

    folder: Path
    root: Path
    """The folder of the dataset, below which its files are named."""
    identity: Mapping[str, object]
    """What decides the content, beside the files: from :func:`identity_of`."""
    contents: Contents = PREPARED
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Values of what older records lack of the identity."""

    @property
    def ledger(self) -> Ledger:
        """The record of the files that the store was made of."""
        path, advice = self.folder / self.contents.record, self.contents.if_of_others
        what, identity = self.contents.what, self.identity
        return Ledger(path, what, identity, defaults=self.defaults, advice=advice)

    def name(self, info: Mapping) -> str:
        """Names a sample by its image's path below the dataset's folder."""
        return Path(os.path.relpath(info["img_path"], self.root)).as_posix()

    def files(self, info: Mapping) -> tuple[Path, Path]:
        """Returns the two files of a sample: its image's, or its maps', and its label's."""
        key = hashlib.sha256(self.name(info).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        first, second = self.contents.ends
        return self.folder / f"{key}{first}", self.folder / f"{key}{second}"

    def require_unchanged(self, infos: Iterable[Mapping]) -> None:
        """Checks that all samples are in the store, and that their files have not changed since.

        Raises:
            UserError: if the store is not finished, belongs to other data or another class map, or
                some files are not those that it was made of.
        """
        again = self.contents.again
        content = self.ledger.read(dict)
        if content is None:
            raise UserError(f"{self.folder}: nothing is prepared there; {again}")
        if not content.get("complete"):
            raise UserError(f"{self.folder}: is not prepared to the end; {again}")
        recorded, count = recorded_stamps(content), 0
        changed: list[str] = []
        for info in infos:
            count += 1
            if recorded.get(self.name(info)) != stamp_of(info):
                changed.append(info["img_path"])
        if changed:
            raise UserError(
                f"{self.folder}: {len(changed)} of {count} images or their labels have changed "
                f"since they were prepared, or are new, the first is {changed[0]}; {again}"
                f"{self.contents.if_changed}"
            )


def identity_of(
    adapter: type,
    split: str,
    label_ids: Mapping[int, int],
    label_colors: Mapping[tuple[int, int, int], int],
    infos: Iterable[Mapping],
) -> dict[str, object]:
    """Collects what decides a store's content beside the files.

    Args:
        adapter: the dataset's class.
        split: the split.
        label_ids, label_colors: the tables from ids and from colours to train ids.
        infos: the samples; if all are PNG, which every decoder decodes alike, that of the decoder
            is left out.
    """
    tables = (sorted(label_ids.items()), sorted(label_colors.items()))
    exact = all(Path(info["img_path"]).suffix.lower() == ".png" for info in infos)
    import cv2  # not above, so that what a bug report needs can be read without it

    return {
        "version": VERSION,
        "dataset": adapter.__name__,
        "split": split,
        "class map": short_digest(json.dumps([*tables, adapter.LABEL_CHANNEL])),
        "decoder": None if exact else f"OpenCV {cv2.__version__}",
    }


def short_digest(text: str) -> str:
    """16 hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stamp_of(info: Mapping) -> str:
    """Describes the files of a sample by their sizes and times of change.

    Raises:
        UserError: if one is missing.
    """
    try:
        return "; ".join(stamp(Path(info[key])) for key in ("img_path", "seg_map_path"))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error


def prepared_folder() -> Path | None:
    """The folder of prepared domains that the environment names, if it names one.

    Raises:
        UserError: if there is no such folder.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    folder = as_path(given)
    if not folder.is_dir():
        raise UserError(
            f"{VARIABLE} is {given}, and there is no such folder; make it with `ibnseg prepare "
            f"DOMAIN --out {given}`, or unset {VARIABLE}"
        )
    return folder


def describe_prepared() -> str:
    """Says in words what is in the folder of prepared domains, or why it cannot be used."""
    try:
        folder = prepared_folder()
    except UserError as error:
        return str(error)
    if folder is None:
        return "not set"
    found = []
    for record in sorted(folder.glob(f"*/{RECORD}")):
        try:
            content = read_json(record, "prepare it again")
            is_whole = isinstance(content, dict) and content.get("complete")
            state = "" if is_whole else " (not to the end)"
        except UserError as error:
            state = f" ({error})"
        found.append(f"{record.parent.name}{state}")
    return f"{folder.absolute()}: {', '.join(found) or 'nothing is prepared there'}"


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes a file of a store, which is there as a whole or not at all."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def map_pixels(
    path: str | Path, dimensions: int, dtype: type = np.uint8, again: str = PREPARED.again
) -> np.memmap:
    """Maps a stored image or label into memory; pixels are read from the disk as they are used.

    Args:
        path: the ``.npy``.
        dimensions: 3 for an image, 2 for a label.
        dtype: the type of its numbers.
        again: what the error says is to be done.

    Raises:
        UserError: if it is missing or damaged.
    """
    try:
        path = regular_file(path)
        pixels = np.lib.format.open_memmap(path, mode="r")
        if pixels.dtype != dtype or pixels.ndim != dimensions:
            raise ValueError(f"an array of {pixels.dtype} with {pixels.ndim} dimensions")
    except (UserError, *DAMAGED) as error:
        raise UserError(f"{path}: missing or damaged ({error}); {again}") from error
    return pixels
