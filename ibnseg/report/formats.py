"""The forms that a report comes in, by their names."""

from __future__ import annotations

from ibnseg.report.data import as_csv, as_json
from ibnseg.report.latex import latex
from ibnseg.report.markdown import markdown
from ibnseg.report.terminal import terminal

FORMATS = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}
