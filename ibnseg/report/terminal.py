"""Writes reports for the terminal."""

from __future__ import annotations

import sys
import textwrap
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ibnseg.report.gather import Report
from ibnseg.report.sheet import Best, Sheet
from ibnseg.report.sheets import report_sheets
from ibnseg.support.terminal import visible

WIDTH = 100
"""Characters in a line of the notes; tables are as wide as they need to be."""


def as_terminal(report: Report) -> str:
    """Writes tables as wide as they need to be.

    The best value of a column is bold if the output is a terminal, and has a star in any case.
    """
    return "\n\n".join(sheet_text(sheet) for sheet in report_sheets(report, best="*"))


def sheet_text(sheet: Sheet) -> str:
    """Writes a table with its title above it and its notes, wrapped, below it."""
    table = Table(box=box.HORIZONTALS, pad_edge=False)
    for i, head in enumerate(sheet.head):
        table.add_column(_text(head), justify="left" if i < sheet.left else "right", no_wrap=True)
    for part in sheet.parts:
        for i, row in enumerate(part):
            if i and len(row) > 1:
                table.add_row()
            for line in row:
                table.add_row(*map(_text, line))
        table.add_section()
    console = Console(
        file=StringIO(),
        width=10_000,
        force_terminal=sys.stdout.isatty(),
        color_system="standard" if sys.stdout.isatty() else None,
    )
    console.print(table)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    wrap = textwrap.TextWrapper(
        WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    notes = (wrap.fill(_line(note)) for note in sheet.notes)
    return "\n".join([_line(sheet.title), *lines, *notes])


def _text(text: str) -> Text:
    shown = _line(text)
    return Text(f"{shown} *", "bold") if isinstance(text, Best) else Text(shown)


def _line(text: str) -> str:
    return " ".join(visible(text).split("\n"))
