"""A sheet: a table of text with a title and notes, whatever format it is printed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ibnseg.evaluation.metrics import PERCENT

NOTHING = "-"

Lines = tuple[tuple[str, ...], ...]
"""The lines of one row of a sheet; each has one text for each column."""


class Best(str):
    """A text that stands out as the best of its column."""


@dataclass(frozen=True)
class Sheet:
    """A table of text."""

    title: str
    head: tuple[str, ...]
    left: int
    """Number of columns that are aligned left; the others are aligned right."""
    parts: tuple[tuple[Lines, ...], ...]
    """Rows, in parts between which there is a rule."""
    notes: tuple[str, ...]
    """Sentences below the table."""


def percent(fraction: float | None, sign: str = "") -> str:
    """Writes a fraction in percent with one decimal; a dash for None.

    Args:
        fraction: 1 is 100 percent.
        sign: ``'+'`` to write the plus too.
    """
    return NOTHING if fraction is None else f"{round(100 * fraction, 1) + 0.0:{sign}.1f}"


def shown(value: float | None, unit: str, sign: str = "") -> str:
    """Writes a metric's value: a fraction in percent, anything else with three digits or more."""
    if unit == PERCENT or value is None:
        return percent(value, sign)
    return f"{value:{sign}.0f}" if abs(value) >= 100 else f"{value:{sign}.3g}"


def listed(names: Sequence[str]) -> str:
    """Joins names to a list in words, such as ``truck, bus and train``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
