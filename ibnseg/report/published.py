"""Numbers that papers and repositories have published, beside which measured ones are shown."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """One published number, a row of ``published.csv``; what a source does not say is
    ``'unknown'``."""

    method: str
    """As its source calls it, with whose baseline or re-run it is."""

    backbone: str

    train: tuple[str, ...]
    """Names of the domains whose labels it was trained on."""

    test: str
    """Name of the domain that it was tested on."""

    metric: str
    """``'mIoU'`` or ``'pixel_accuracy'``."""

    value: str
    """Percent, 0 to 100, with the decimals of the source."""

    protocol: str
    """Name of the test protocol that its images were shown under."""

    recipe: str
    """How it was trained: crop in pixels, iterations, total batch, learning rate."""

    source: str
    """What the number was read in."""


def read_published() -> tuple[Published, ...]:
    """All published numbers, in the order of the file."""
    path = files("ibnseg.report") / "published.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(**{**row, "train": tuple(row["train"].split("+"))})
            for row in csv.DictReader(file)
        )
