"""Writes reports as LaTeX tables with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from ibnseg.report.gather import Report
from ibnseg.report.sheet import NOTHING, Best, Lines, Sheet
from ibnseg.report.sheets import report_sheets
from ibnseg.support.terminal import visible

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
"""The characters that LaTeX would read as commands or not show, and what is written for them."""


def as_latex(report: Report) -> str:
    """Writes a ``table*`` for each sheet, with its notes below it; a table that is wider than the
    text is scaled down."""
    packages = "% \\usepackage{booktabs,graphicx}"
    return "\n\n".join([packages, *map(_sheet, report_sheets(report))])


def _sheet(sheet: Sheet) -> str:
    parts = [_part(part) for part in sheet.parts]
    columns = "l" * sheet.left + "r" * (len(sheet.head) - sheet.left)
    body = "\\midrule\n".join(parts)
    notes = "\n\n".join(map(_escaped, sheet.notes))
    head = " & ".join(map(_escaped, sheet.head))
    return f"""\\begin{{table*}}
\\centering
\\caption{{{_escaped(sheet.title)}}}
\\footnotesize
\\setlength{{\\tabcolsep}}{{4pt}}
\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%
\\begin{{tabular}}{{@{{}}{columns}@{{}}}}
\\toprule
{head} \\\\
\\midrule
{body}\\bottomrule
\\end{{tabular}}}}

\\medskip
\\raggedright
{notes}
\\end{{table*}}"""


def _part(rows: Sequence[Lines]) -> str:
    between = "\\addlinespace\n" if any(len(row) > 1 for row in rows) else ""
    return between.join(map(_row, rows))


def _row(row: Lines) -> str:
    return "".join(f"{' & '.join(map(_text, line))} \\\\\n" for line in row)


def _text(text: str) -> str:
    shown = _escaped(text)
    if text[:1] in ("-", "[") and text != NOTHING:
        shown = shown.replace("-", "$-$")  # a minus, not a hyphen
    shown = f"{{{shown}}}" if text.startswith(("[", "*")) else shown  # those belong to \\
    return f"\\textbf{{{shown}}}" if isinstance(text, Best) else shown


def _escaped(text: str) -> str:
    """Returns a text in which nothing is taken for a command or the end of a paragraph."""
    return "".join(SPECIAL.get(mark, mark) for mark in " ".join(visible(text).split()))
