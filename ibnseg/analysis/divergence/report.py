"""Writes what has been measured of divergence, by network: tables, files and a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ibnseg.analysis.divergence.formula import LayerDivergence, over_seeds, ratio
from ibnseg.analysis.divergence.plot import write_plot
from ibnseg.analysis.networks import labels
from ibnseg.report.cells import harmless_row
from ibnseg.report.markdown import sheet_markdown
from ibnseg.report.records import network_of
from ibnseg.report.sheet import NOTHING, Sheet
from ibnseg.report.terminal import sheet_text
from ibnseg.support.files import written_whole
from ibnseg.support.terminal import say

COLUMNS = (
    "network", "seeds", "layer", "channels", "divergence", "low", "high", "constant_a",
    "constant_b", "varying", "ratio", "ratio_low", "ratio_high",
)  # fmt: skip
"""The columns of the CSV, which has a line for each layer of each network; constant channels are
counted over all seeds."""


class Measured(NamedTuple):
    """A run, and the divergence of its layers."""

    run: dict
    """What :func:`ibnseg.engine.record.describe_run` says of the run, and its ``folder``."""
    layers: list[LayerDivergence]

    def record(self) -> dict:
        """Returns what ``divergence.json`` holds of the run."""
        return dict(
            self.run,
            layers=[
                dict(
                    layer=each.layer,
                    channels=each.channels,
                    divergence=each.divergence,
                    interval=each.interval,
                    constant=each.constant,
                    varying=each.varying,
                )
                for each in self.layers
            ],
        )


def networks(measured: Sequence[Measured], domains: Mapping[str, str]) -> list[dict]:
    """Combines the runs of each network over their seeds.

    Args:
        measured: all runs; those of one network have different seeds.
        domains: titles of domains, by their names.

    Returns:
        For each network ``name``, ``seeds`` and ``layers``. Each layer has ``layer``, ``channels``,
        ``divergence`` and ``interval``; ``constant``, the numbers of channels, over all seeds, that
        are constant in each set; ``varying``; and ``ratio`` and ``ratio_interval`` to the first
        network, from :func:`ibnseg.analysis.divergence.formula.ratio`, None if that network lacks
        the layer.
    """
    grouped: dict[tuple, list[Measured]] = {}
    for each in measured:
        grouped.setdefault(network_of(each.run), []).append(each)
    names = labels({key: found[0].run["title"] for key, found in grouped.items()}, domains)
    layers = {key: _by_layer(found) for key, found in grouped.items()}
    first = next(iter(layers.values()))
    return [
        dict(
            name=names[key],
            seeds=[each.run["seed"] for each in found],
            layers=[
                _over_seeds(trainings, None if layers[key] is first else first.get(name))
                for name, trainings in layers[key].items()
            ],
        )
        for key, found in grouped.items()
    ]


def _by_layer(runs: Sequence[Measured]) -> dict[str, dict[int | None, LayerDivergence]]:
    """Returns each layer by its name, in each training, by the training's seed."""
    found: dict[str, dict] = {}
    for run, layers in runs:
        for layer in layers:
            found.setdefault(layer.layer, {})[run["seed"]] = layer
    return found


def _over_seeds(
    trainings: Mapping[int | None, LayerDivergence],
    others: Mapping[int | None, LayerDivergence] | None,
) -> dict:
    layers = list(trainings.values())
    mean, times = over_seeds(trainings), others and ratio(trainings, others)
    varying = [layer.varying for layer in layers]
    return dict(
        layer=layers[0].layer,
        channels=layers[0].channels,
        divergence=mean.value,
        interval=mean.interval,
        constant=[sum(len(layer.constant[i]) for layer in layers) for i in range(2)],
        varying=None if None in varying else float(np.expm1(np.log1p(varying).mean())),
        ratio=times.value if times else None,
        ratio_interval=times.interval if times else None,
    )


def write_divergence(out: Path, result: Mapping) -> None:
    """Writes ``divergence.json``, ``.csv``, ``.md``, ``.png`` and ``.svg``, and prints the tables.

    Args:
        out: the folder.
        result: from :func:`ibnseg.analysis.divergence.measure.measure_divergence`.
    """
    shown = divergence_sheets(result)
    texts = dict(
        json=json.dumps(result, indent=1) + "\n",
        md="\n\n".join(map(sheet_markdown, shown)) + "\n",
    )
    for suffix, content in texts.items():
        with written_whole(out / f"divergence.{suffix}") as temporary:
            temporary.write_text(content)
    with (
        written_whole(out / "divergence.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(harmless_row, _rows(result)))
    lines = {network["name"]: network["layers"] for network in result["networks"]}
    write_plot(out / "divergence", result["title"], lines)
    print("\n" + "\n\n".join(map(sheet_text, shown)))
    say(f"\nDivergence: {out}/divergence.png, .svg, .md, .csv, .json")


def _rows(result: Mapping) -> list[tuple]:
    return [
        (
            network["name"],
            " ".join(map(str, network["seeds"])),
            layer["layer"],
            layer["channels"],
            layer["divergence"],
            *(layer["interval"] or (None, None)),
            *layer["constant"],
            layer["varying"],
            layer["ratio"],
            *(layer["ratio_interval"] or (None, None)),
        )
        for network in result["networks"]
        for layer in network["layers"]
    ]


def divergence_sheets(result: Mapping) -> list[Sheet]:
    """Returns the tables of a result, with a row for each layer and a column for each network.

    The first has the divergence D, with a note for each layer that has constant channels; with
    several networks a second has their 1 + D as a multiple of the first network's.
    """
    first, *others = result["networks"]
    sizes = [each["images"] for each in result["sets"]]
    found = [
        _sheet(
            f"{result['title']}, {sizes[0]} and {sizes[1]} images",
            result["networks"],
            lambda layer: _cell(layer["divergence"], layer["interval"]),
            _notes(result),
        )
    ]
    if any(layer["ratio"] is not None for network in others for layer in network["layers"]):
        found.append(
            _sheet(
                f"1 + divergence, as a multiple of that of {first['name']}",
                others,
                lambda layer: _cell(layer["ratio"], layer["ratio_interval"]),
                ["Paired by images and seeds; an interval that excludes 1 shows a difference."],
            )
        )
    return found


def _sheet(
    title: str,
    columns: Sequence[Mapping],
    cell: Callable[[Mapping], str],
    notes: Sequence[str],
) -> Sheet:
    longest = max((network["layers"] for network in columns), key=len)
    rows: dict[str, dict[str, str]] = {layer["layer"]: {} for layer in longest}
    for network in columns:
        for layer in network["layers"]:
            rows.setdefault(layer["layer"], {})[network["name"]] = cell(layer)
    names = [network["name"] for network in columns]
    part = tuple(
        ((layer, *(cells.get(name, NOTHING) for name in names)),) for layer, cells in rows.items()
    )
    return Sheet(title, head=("layer", *names), left=1, parts=(part,), notes=tuple(notes))


def _cell(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3g}" + (" [{:.3g}, {:.3g}]".format(*interval) if interval else "")


def _notes(result: Mapping) -> list[str]:
    several = any(len(network["seeds"]) > 1 for network in result["networks"])
    which = "images and other trainings" if several else "images"
    notes = [
        "Symmetric KL divergence, mean over channels, with "
        f"{100 * result['confidence']:g} % intervals for other {which}."
    ]
    if several:
        seeds = (f"{n['name']} {', '.join(map(str, n['seeds']))}" for n in result["networks"])
        notes.append(f"Mean over seeds: {'; '.join(seeds)}.")
    for network in result["networks"]:
        for layer in network["layers"]:
            if any(layer["constant"]):
                a, b = layer["constant"]
                channels = layer["channels"] * len(network["seeds"])
                varying = layer["varying"]
                rest = "none" if varying is None else f"{varying:.3g}"
                notes.append(
                    f"{network['name']}, {layer['layer']}: {a} and {b} of {channels} channels are "
                    f"constant in the first and second set (variance below "
                    f"{result['epsilon']:g}, which they are given); mean over the others: {rest}."
                )
    return notes
