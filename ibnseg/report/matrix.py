"""The matrix of runs as data: train domains and networks by test domains, with intervals."""

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
    """95 % interval with the images resampled; None if there is none, see
    :func:`ibnseg.report.statistics.interval`."""
    by_group: Interval | None
    """95 % interval with groups of images (a city, a sequence) resampled; None if the score is not
    defined in two of them. For a mean over domains, groups are resampled in those domains that
    have them, and images in the others."""
    grouped: bool
    """Whether groups of images are known, and larger than one image: images are alike within a
    group, and ``by_image`` is too narrow."""
    drop: float | None = None
    """The value in the training domain (the mean over several) minus this one; None in a training
    domain itself, in a mean or difference, and unless exactly one split of each training domain
    was tested."""
    best: bool = False
    """Whether it is better than every other row of the block that has this cell, by the interval of
    the paired difference."""

    @property
    def interval(self) -> Interval | None:
        """The interval to rely on; None if there is none."""
        return self.by_group if self.grouped else self.by_image


@dataclass(frozen=True)
class Column:
    """A test domain."""

    domain: str
    split: str
    images: tuple[int, ...]
    """The numbers of images that were tested, one unless runs differ."""
    groups: int | None
    """Number of groups of images; None if not known, or if each image is a group."""
    averaged: tuple[str, ...] | None = None
    """Names of the classes that are averaged, if not all of those that the domain averages are."""


@dataclass(frozen=True)
class Row:
    """A network, trained with one or more seeds; or the difference of two."""

    config: str
    model: str
    title: str
    seeds: tuple[int | None, ...]
    cells: tuple[Cell | None, ...]
    """One for each column of the matrix; None if it was not tested there, or is undefined."""
    unseen: Cell | None
    """The mean over all columns of the block but those of training domains."""


@dataclass(frozen=True)
class Block:
    """The networks that were trained in the same domain, or domains."""

    train: str
    """The domain's name; the names of several are joined by ``+``."""
    trains: tuple[str, ...]
    """The name of each domain."""
    rows: tuple[Row, ...]
    differences: tuple[Row, ...]
    """Each row but the first minus the first, on the same images and seeds."""


class Remark(NamedTuple):
    """Something that readers of the numbers have to know."""

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
