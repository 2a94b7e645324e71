"""The matrix of runs as data: train domains and networks by test domains, with what each number is
worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ibnseg.report.statistics import Interval


@dataclass(frozen=True)
class Cell:
    """A number of the matrix, a fraction or in the metric's unit."""

    value: float
    """The mean over the seeds."""
    deviation: float | None
    """Standard deviation over the seeds; None for one."""
    seeds: tuple[int | None, ...]
    by_image: Interval | None
    """95 % interval with the images resampled; None where they are not known."""
    by_group: Interval | None
    """95 % interval with groups of images (a city, a sequence) resampled; None if the score is not
    defined in two of them. For a mean over domains, groups are resampled in those domains that
    have them, and images in the others."""
    grouped: bool
    """Whether images are known to be of two or more groups: they are alike within one, and
    ``by_image`` is too narrow."""
    drop: float | None = None
    """The value at home (the mean over the training domains) minus this one; None at home, in a
    mean, in a difference, and if not exactly one split of each training domain was tested."""
    best: bool = False
    """Whether it is better than every other row of the block that has this cell, by the interval of
    the paired difference."""

    @property
    def interval(self) -> Interval | None:
        """The one to rely on; None if there is none."""
        return self.by_group if self.grouped else self.by_image


@dataclass(frozen=True)
class Column:
    """A test domain."""

    domain: str
    split: str
    images: tuple[int, ...]
    """The numbers of images that were tested, one unless runs differ."""
    groups: int | None
    """Number of groups of images; None where not known, or where each image is one."""


@dataclass(frozen=True)
class Row:
    """A network, trained with one or more seeds; or the difference of two."""

    config: str
    model: str
    title: str
    seeds: tuple[int | None, ...]
    cells: tuple[Cell | None, ...]
    """One a column."""
    unseen: Cell | None
    """The mean over all columns of the block but those of training domains."""


@dataclass(frozen=True)
class Block:
    """The networks that were trained in the same domain, or domains."""

    train: str
    """The domain's name; of several, joined by a plus."""
    trains: tuple[str, ...]
    """The names of each."""
    rows: tuple[Row, ...]
    differences: tuple[Row, ...]
    """Each row but the first minus the first, on the same images and seeds."""


class Remark(NamedTuple):
    """Something to know of the numbers."""

    text: str
    domains: tuple[str, ...]
    """The domains whose columns the remark is about; empty if it is about none in particular."""


@dataclass(frozen=True)
class Matrix:
    """All results under one protocol."""

    protocol: dict
    metric: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    remarks: tuple[Remark, ...]
    """What could not be computed, and why."""
