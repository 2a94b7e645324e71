"""Plots robustness as small multiples, and the images as they were shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ibnseg.analysis.robustness.corruptions import Corruption
from ibnseg.analysis.robustness.records import called, values_over_seeds
from ibnseg.analysis.style import FAINT, INK, line_style
from ibnseg.appearance import CONDITIONS, SEVERITIES

PER_ROW = 5
"""The most panels in a row."""
PANEL, GAP = (1.95, 1.55), (0.2, 0.62)
"""(width, height) of a panel and between panels, in inches."""
LEFT, RIGHT, TOP, TITLE, BOTTOM = 0.6, 0.2, 0.5, 0.7, 0.45
"""The margins at the left and right, the height of the legend, the space above each domain's
panels, and the margin below the last panels, in inches."""


def plot_robustness(result: Mapping, titles: Mapping[str, str]) -> Figure:
    """Plots small multiples: for each domain a panel for each condition, which has mIoU against
    severity with a line for each network, and a panel for the appearances without severity.

    At severity 0 the images are as they are. Lines are means over seeds, bands are standard
    deviations.

    Args:
        result: from :func:`ibnseg.analysis.robustness.measure.measure_robustness`.
        titles: titles of domains, by their names.
    """
    records = result["records"]
    names, values = called(records, titles), values_over_seeds(records, "mIoU")
    known = list(dict.fromkeys(record["appearance"] for record in records))
    conditions = [name for name in known if name in CONDITIONS]
    others = [name for name in known if name not in CONDITIONS and name != "origin"]
    panels = [*conditions, *([None] if others else [])]
    columns = max(1, min(PER_ROW, len(panels)))
    lines = -(-len(panels) // columns)
    width = LEFT + columns * (PANEL[0] + GAP[0]) + RIGHT
    block = TITLE + lines * (PANEL[1] + GAP[1])
    height = TOP + len(result["domains"]) * block + BOTTOM
    figure = Figure((width, height), dpi=150)
    styles = {network: line_style(i) for i, network in enumerate(names)}
    for d, (domain, title) in enumerate(result["domains"].items()):
        top, first = TOP + d * block, None
        figure.text(
            LEFT / width,
            1 - (top + 0.2) / height,
            title,
            va="top",
            fontsize=11,
            color=INK,
            weight="bold",
        )
        here = {n: styles[n] for n in names if (domain, n, "origin", None) in values}
        for i, name in enumerate(panels):
            row, column = divmod(i, columns)
            x = LEFT + column * (PANEL[0] + GAP[0])
            y = height - top - TITLE - row * (PANEL[1] + GAP[1]) - PANEL[1]
            place = (x / width, y / height, PANEL[0] / width, PANEL[1] / height)
            ax = figure.add_axes(place, sharey=first)
            first = first or ax
            _bare(ax, leftmost=column == 0)
            if name is None:
                _dots(ax, values, domain, here, others)
            else:
                _lines(ax, values, domain, here, name)
        if first:
            first.set_ylim(bottom=0)
    handles = [Line2D([], [], linewidth=2, **styles[network]) for network in names]
    figure.legend(
        handles, names.values(), loc="upper left", bbox_to_anchor=(LEFT / width - 0.005, 1),
        ncols=max(1, int(width // 2.3)), frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0.4,
    )  # fmt: skip
    return figure


def _bare(ax: Axes, leftmost: bool) -> None:
    """Leaves nothing but the lower axis and faint horizontal lines."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=8, labelcolor=INK, labelleft=leftmost)
    if leftmost:
        ax.set_ylabel("mIoU (%)", fontsize=8, color=INK)


def _lines(ax: Axes, values: Mapping, domain: str, styles: Mapping, name: str) -> None:
    """Draws a condition: mIoU against severity."""
    ax.set_title(name, fontsize=9, color=INK, loc="left")
    ax.set_xlim(-0.2, SEVERITIES[-1] + 0.2)
    ax.set_xticks([0, *SEVERITIES])
    ax.set_xlabel("severity", fontsize=8, color=INK, labelpad=1)
    for network, style in styles.items():
        at = {0: values[domain, network, "origin", None]}
        for severity in SEVERITIES:
            if (domain, network, name, severity) in values:
                at[severity] = values[domain, network, name, severity]
        middle = np.array([x.mean() for x in at.values()])
        ax.plot(list(at), middle, linewidth=1.6, marker="o", markersize=2.6, **style)
        if all(len(x) > 1 for x in at.values()):
            spread = np.array([x.std(ddof=1) for x in at.values()])
            ax.fill_between(
                list(at), middle - spread, middle + spread,
                color=style["color"], alpha=0.15, linewidth=0,
            )  # fmt: skip


def _dots(ax: Axes, values: Mapping, domain: str, styles: Mapping, names: Sequence[str]) -> None:
    """Draws corruptions without severity: a dot for each network, with the standard deviation over
    seeds."""
    ax.set_title("others", fontsize=9, color=INK, loc="left")
    shown = ["origin", *names]
    ax.set_xlim(-0.6, len(shown) - 0.4)
    ax.set_xticks(range(len(shown)), shown, fontsize=6.5, rotation=45, ha="right")
    ax.xaxis.set_tick_params(pad=0)
    step = 0.5 / max(len(styles), 2)
    for i, (network, style) in enumerate(styles.items()):
        shift = step * (i - (len(styles) - 1) / 2)
        for x, name in enumerate(shown):
            seeds = values[domain, network, name, None]
            spread = seeds.std(ddof=1) if len(seeds) > 1 else 0
            ax.errorbar(
                x + shift, seeds.mean(), spread, fmt="o", markersize=3.6,
                color=style["color"], elinewidth=1,
            )  # fmt: skip


# ---- what was shown ----------------------------------------------------------------------------

CELL = 300
"""The width of a picture on the sheet, in pixels."""


def corruption_sheet(pictures: Sequence[tuple[Corruption, np.ndarray]]) -> Figure:
    """Shows one image in every appearance: a row for each condition, by severity, and the others in
    rows of their own; floats are clipped to be shown.

    Args:
        pictures: corruptions, from :func:`ibnseg.analysis.robustness.corruptions.corruptions`, the
            first of them ``origin``, and the image in each: (H, W, 3) RGB on the scale of 0 to 255.
    """
    origin = pictures[0]
    alone = [picture for picture in pictures if picture[0].severity is None]
    rows = [alone[i : i + 6] for i in range(0, len(alone), 6)]
    graded = (picture for picture in pictures if picture[0].severity is not None)
    rows += [[origin, *row] for _, row in groupby(graded, key=lambda picture: picture[0].name)]
    columns = max(map(len, rows))
    aspect = origin[1].shape[0] / origin[1].shape[1]
    wide, high, caption, edge = 2.0, 2.0 * aspect, 0.24, 0.06
    width, height = columns * (wide + edge) + edge, len(rows) * (high + caption) + edge
    figure = Figure((width, height), dpi=CELL / wide)
    for r, row in enumerate(rows):
        for c, (corruption, image) in enumerate(row):
            x = edge + c * (wide + edge)
            y = height - r * (high + caption) - caption - high
            ax = figure.add_axes((x / width, y / height, wide / width, high / height))
            ax.set_axis_off()
            small = cv2.resize(
                np.ascontiguousarray(image),
                (CELL, round(CELL * aspect)),
                interpolation=cv2.INTER_AREA,
            )
            ax.imshow(np.rint(small).clip(0, 255).astype(np.uint8), aspect="auto")
            ax.set_title(_caption(corruption), fontsize=7.5, color=INK, loc="left", pad=2.5)
    return figure


def _caption(corruption: Corruption) -> str:
    if corruption.severity is None:
        return corruption.name
    return f"{corruption.name} {corruption.severity}: {_with_unit(corruption)}"


def _with_unit(corruption: Corruption) -> str:
    """Returns the parameter in words, e.g. ``sigma 0.7 pixels``."""
    what, _, unit = CONDITIONS[corruption.name].parameter.partition(" (")
    return f"{what} {corruption.parameter:g} {unit.rstrip(')')}".strip()
