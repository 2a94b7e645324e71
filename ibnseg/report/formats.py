"""The one table of the formats that a report is printed in, by their names."""

from __future__ import annotations

from ibnseg.report.data import as_csv, as_json
from ibnseg.report.latex import as_latex
from ibnseg.report.markdown import as_markdown
from ibnseg.report.terminal import as_terminal

FORMATS = {
    "terminal": as_terminal,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": as_json,
}
