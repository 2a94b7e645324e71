"""Plots the divergence of each layer, with a line for each network, and its interval as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import log10
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ibnseg.analysis.style import FAINT, PALE, STYLE, line_style, save

MARKERS = "osD^vPX"
WIDE = 30
"""The ratio of the largest to the smallest divergence above which the axis is logarithmic."""
HEADROOM = 2
"""How many times as high as the largest divergence the axis may be."""


def write_plot(stem: Path, title: str, lines: Mapping[str, Sequence[Mapping]]) -> None:
    """Writes ``<stem>.png`` and ``<stem>.svg``.

    Args:
        stem: the path without suffix.
        title: the title of the plot.
        lines: the layers of each network, in order, by the network's name, as :func:`draw` takes
            them.
    """
    with matplotlib.rc_context(STYLE):
        figure = draw(title, lines)
    save(figure, stem)


def draw(title: str, lines: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Draws the figure.

    Each layer has ``layer``, ``divergence``, ``interval`` (two numbers or None) and ``constant``
    (numbers of channels in A and in B); if it has constant channels, its marker is hollow. Networks
    with the same layers share an axis with the layers' names; others are drawn over their relative
    depth.

    Args:
        title, lines: as for :func:`write_plot`.
    """
    names = [[layer["layer"] for layer in layers] for layers in lines.values()]
    same = all(own == names[0] for own in names)
    longest = max(map(len, names))
    size = (min(max(6.4, 1.6 + 0.42 * longest), 16), 4.4)
    figure = Figure(size, dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, layers) in enumerate(lines.items()):
        last = max(len(layers) - 1, 1)
        at = [k if same else k / last for k in range(len(layers))]
        _draw_line(axes, at, layers, name, i)
    if same:
        _name_layers(axes, names[0])
    else:
        axes.set_xlabel("depth: first to last layer")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    _scale(axes, [layer["divergence"] for layers in lines.values() for layer in layers])
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    handles = axes.get_legend_handles_labels()[0]
    if any(any(layer["constant"]) for layers in lines.values() for layer in layers):
        hollow = dict(color=PALE, marker="o", markerfacecolor="white", linewidth=0, markersize=5)
        handles.append(Line2D([], [], label="channels constant in a set", **hollow))
    axes.legend(handles=handles, handlelength=2.2, edgecolor="none", framealpha=0.85)
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Sets a linear axis from 0, or a logarithmic one if most values would otherwise lie near 0.

    It ends at ``HEADROOM`` times the largest value at most: bands of few images may reach far
    beyond, and the lines would be flat.
    """
    least = min(values)
    logarithmic = least > 0 and max(values) > WIDE * least
    if max(values) > 0:
        axes.set_ylim(top=min(axes.get_ylim()[1], HEADROOM * max(values)))
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(bottom=least / 2)
        decades = log10(axes.get_ylim()[1] / (least / 2))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 4 else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel(f"symmetric KL divergence (nats{', log scale' if logarithmic else ''})")


def _draw_line(
    axes: Axes, at: Sequence[float], layers: Sequence[Mapping], name: str, number: int
) -> None:
    look, marker = line_style(number), MARKERS[number % len(MARKERS)]
    values = [layer["divergence"] for layer in layers]
    axes.plot(
        at,
        values,
        **look,
        marker=marker,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=1.8,
        label=name,
        zorder=3,
        clip_on=False,
    )
    hollow = [i for i, layer in enumerate(layers) if any(layer["constant"])]
    if hollow:
        axes.plot(
            [at[i] for i in hollow],
            [values[i] for i in hollow],
            marker,
            color=look["color"],
            markerfacecolor="white",
            markersize=5,
            zorder=4,
            clip_on=False,
        )
    known = [(x, layer["interval"]) for x, layer in zip(at, layers, strict=True)]
    known = [(x, interval) for x, interval in known if interval is not None]
    if known:
        xs, intervals = zip(*known, strict=True)
        low, high = zip(*intervals, strict=True)
        axes.fill_between(xs, low, high, color=look["color"], alpha=0.16, linewidth=0, zorder=2)


def _name_layers(axes: Axes, names: Sequence[str]) -> None:
    """Writes the layers' names below the axis; those of one stage, e.g. ``layer1.0`` and
    ``layer1.1``, by their last part above the stage's name, with faint lines between stages."""
    split = [name.rpartition(".") for name in names]
    stages = [(stage, len(list(own))) for stage, own in groupby(split, key=lambda part: part[0])]
    axes.set_xlim(-0.5, len(names) - 0.5)
    if not any(stage and count > 1 for stage, count in stages):
        turned = dict(rotation=40, ha="right") if sum(map(len, names)) > 60 else {}
        axes.set_xticks(range(len(names)), names, **turned)
        return
    axes.set_xticks(range(len(names)), [last for *_, last in split])
    start = 0
    for stage, count in stages:
        if start:
            axes.axvline(start - 0.5, color=FAINT, linewidth=0.8, zorder=1)
        axes.annotate(
            stage,
            (start + (count - 1) / 2, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -20),
            textcoords="offset points",
            ha="center",
            va="top",
            color=PALE,
        )
        start += count
