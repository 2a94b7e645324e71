"""Cells of CSV files that a spreadsheet shows as text, and never runs as a formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from ibnseg.support.terminal import visible

Cell = TypeVar("Cell")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets take for a formula, in wide characters too
(https://owasp.org/www-community/attacks/CSV_Injection)."""


def harmless(cell: Cell) -> Cell | str:
    """Returns a cell with an apostrophe in front if it is a text that may be taken for a formula.

    Numbers stay numbers, those that are written as text (``-1.5``) too. Control characters of
    texts are written out (:func:`~ibnseg.support.terminal.visible`).
    """
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if cell.startswith(FORMULA) and not _is_number(cell) else text


def harmless_row(row: Iterable[object]) -> list[object]:
    """Applies :func:`harmless` to the cells of a row."""
    return [harmless(cell) for cell in row]


def harmless_record(record: Mapping[str, object]) -> dict[str, object]:
    """Applies :func:`harmless` to the cells of a row that is given by its columns."""
    return {column: harmless(cell) for column, cell in record.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
