"""Writes reports as Markdown in GitHub's dialect."""

from __future__ import annotations

import re

from ibnseg.report.gather import Report
from ibnseg.report.sheet import Best, Sheet
from ibnseg.report.sheets import report_sheets
from ibnseg.support.terminal import visible


def as_markdown(report: Report) -> str:
    """Writes a title, a table and a list of notes for each sheet."""
    return "\n\n".join(map(sheet_markdown, report_sheets(report)))


def sheet_markdown(sheet: Sheet) -> str:
    """Writes a table with its title above it and its notes, a list, below it."""
    rows = [tuple(map(_text, line)) for part in sheet.parts for row in part for line in row]
    notes = "\n".join(f"- {escaped(note)}" for note in sheet.notes)
    head = tuple(map(_text, sheet.head))
    return f"**{escaped(sheet.title)}**\n\n{table(head, rows, sheet.left)}\n\n{notes}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> str:
    """Writes a Markdown table with aligned columns.

    Args:
        head: the cells of the first line.
        rows: the cells of the others, as many in each.
        left: how many columns are aligned left; the rest are aligned right.
    """
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        aligned = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])


def _text(text: str) -> str:
    shown = escaped(text)
    return f"**{shown}**" if isinstance(text, Best) else shown


def escaped(text: str) -> str:
    """Returns a text in which nothing is taken for Markdown, HTML, mathematics or a new line."""
    return _MARKS.sub(r"\\\g<0>", " ".join(visible(text).split()))


_MARKS = re.compile(
    r"[\\|*`<$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # those within a word mean nothing
    r"|~(?=~)|(?<=~)~"
    r"|\](?=[(\[:])"  # of links and pictures
    r"|&(?=#?\w+;)"
    r"|^[#>]|^[-+](?=\s)|^=+$"
)
