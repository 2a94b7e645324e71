"""The style that all plots have in common, and how they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ibnseg.support.files import written_whole

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design",
2008)."""
DASHES = ("-", "--", ":", "-.")
"""Dashes of lines; those after the first are for lines beyond the last colour."""
INK, PALE, FAINT = "#333333", "#8A8A8A", "#DDDDDD"
"""Colours of text, axes and grids."""
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",
    "svg.hashsalt": "ibnseg",
    "axes.edgecolor": PALE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def line_style(number: int) -> dict[str, str]:
    """Returns the colour and dashes of a plot's line, by its number from 0."""
    dashes = DASHES[number // len(COLORS) % len(DASHES)]
    return dict(color=COLORS[number % len(COLORS)], linestyle=dashes)


def save(figure: Figure, stem: Path, suffixes: Sequence[str] = ("png", "svg")) -> None:
    """Writes a figure whole as ``<stem>.<suffix>``; the same figure makes the same files."""
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        for suffix in suffixes:
            metadata = {"Date": None} if suffix == "svg" else {}
            with written_whole(stem.with_suffix(f".{suffix}")) as temporary:
                figure.savefig(temporary, format=suffix, facecolor="white", metadata=metadata)
