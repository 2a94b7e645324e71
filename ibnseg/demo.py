"""Draws streets in six looks, trains three networks on one of them and tests them on all: what
``ibnseg demo`` does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import nn

from ibnseg.datasets.domain import Domains
from ibnseg.engine import run
from ibnseg.engine.read import load_config
from ibnseg.networks.drawing import colored, contact_sheet
from ibnseg.networks.network import load, predict_image
from ibnseg.registry import DATASETS
from ibnseg.report.gather import gather
from ibnseg.report.markdown import as_markdown
from ibnseg.report.matrix import Row
from ibnseg.report.terminal import as_terminal
from ibnseg.streets.render import APPEARANCES
from ibnseg.streets.write import write_streets
from ibnseg.support.files import as_path, in_turn, written_whole
from ibnseg.support.progress import bar
from ibnseg.support.terminal import say

CONFIGS = ("streets_r18", "streets_ibn18a", "streets_ibn18b")
"""The experiments; the first is what the others are compared with."""

SHOWN = 4
"""The number of images on a contact sheet."""


class Scale(NamedTuple):
    """How large a demo is."""

    train: int  # images to train on
    val: int  # images to test on, in each look
    iterations: int


FULL, QUICK = Scale(400, 40, 300), Scale(16, 4, 8)


def demo(out: str | Path = "demo", seeds: Sequence[int] = (0,), quick: bool = False) -> None:
    """Draws the streets, trains and tests the networks, and prints and draws what came out.

    Called again after an interruption, it continues.

    Args:
        out: the folder for all that is written: ``data/``, ``runs/``, ``table.md`` and a contact
            sheet for each look.
        seeds: the seeds of the trainings; several give means and intervals for other seeds.
        quick: whether to use few images and steps, to see that all works; the numbers then mean
            nothing.

    Raises:
        UserError: if ``out`` holds a demo of another scale, or something else.
    """
    out, scale = as_path(out), QUICK if quick else FULL
    counts = {look: (scale.train if look == "virtual" else 0, scale.val) for look in APPEARANCES}
    folders = write_streets(out / "data", counts)
    roots = {folder.name: str(folder) for folder in folders}
    options = [f"iterations={scale.iterations}", "console=bar"]
    options += ["precision=auto", "channels_last=auto", "compile=auto"]
    runs = {config: [out / "runs" / config / f"seed{seed}" for seed in seeds] for config in CONFIGS}
    for config in CONFIGS:
        for seed, folder in zip(seeds, runs[config], strict=True):
            run.train(
                config,
                options=options,
                roots=roots,
                seed=seed,
                work_dir=folder,
                resume=True,
                show=False,
            )
    trained = [folder for folders in runs.values() for folder in folders]
    report = gather(trained, protocols=["native"], domains=list(roots))
    with in_turn(out / "table.md"), written_whole(out / "table.md") as temporary:
        temporary.write_text(as_markdown(report) + "\n")
    titles = {name: report.title(name) for name in roots}
    sheets = _draw_sheets(out, {c: folders[0] for c, folders in runs.items()}, roots, titles)
    shown = ", ".join(os.path.relpath(path) for path in (out / "table.md", *sheets))
    matrix = report.matrices[0]
    said = summary(matrix.blocks[0].rows, [column.domain for column in matrix.columns])
    print(f"\n{as_terminal(report)}\n")
    say(f"Results: {shown}, {os.path.relpath(out / 'runs')}/\n{said}")


def summary(rows: Sequence[Row], domains: Sequence[str]) -> str:
    """Returns three lines: how mIoU falls, which network keeps most, and what to do next.

    Args:
        rows: the rows of the matrix, one for each network.
        domains: the domains of its columns.
    """
    home, real = (domains.index(f"streets_{look}") for look in ("virtual", "real"))
    falls = "; ".join(
        f"{row.title} {100 * row.cells[home].value:.1f} to {100 * row.cells[real].value:.1f}"
        for row in rows
    )
    away = {row.title: 100 * row.unseen.value for row in rows}
    best = max(away, key=lambda name: away[name])
    rest = ", ".join(f"{name} {value:.1f}" for name, value in away.items() if name != best)
    return (
        f"Seen: from virtual streets, where they were trained, to real ones mIoU goes: {falls}.\n"
        f"Over the five looks that they never saw {best} has the highest mean, {away[best]:.1f} "
        f"({rest}).\n"
        "Next: put GTA5 and Cityscapes below data/, as data/README.md says, and run: "
        "ibnseg train gta2city_ibn50a"
    )


def _draw_sheets(
    out: Path, runs: Mapping[str, Path], roots: Mapping[str, str], titles: Mapping[str, str]
) -> list[Path]:
    """Draws a sheet for each domain: some images, their truth, and each network's predictions."""
    networks = [load(folder) for folder in runs.values()]
    names = [load_config(folder / "config.py").model_title for folder in runs.values()]
    sheets = []
    with bar() as progress:
        for name in progress.track(titles, description="Drawing contact sheets"):
            rows = [_row(networks, item) for item in _items(name, roots[name])]
            sheet = contact_sheet(titles[name], ("image", "ground truth", *names), rows)
            sheets.append(out / f"{name}.png")
            with in_turn(sheets[-1]), written_whole(sheets[-1]) as temporary:
                Image.fromarray(sheet).save(temporary)
    return sheets


def _items(name: str, root: str) -> list[dict]:
    """Loads the first images of a domain's test split with their labels."""
    domain = Domains()[name]
    steps = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
    dataset = DATASETS.build(domain.dataset_config(root, domain.test_split, steps))
    return [dataset[i] for i in range(min(SHOWN, len(dataset)))]


def _row(networks: Sequence[nn.Module], item: Mapping) -> list[np.ndarray]:
    predictions = [predict_image(network, item["img"]) for network in networks]
    maps = [colored(train_ids) for train_ids in (item["gt_seg_map"], *predictions)]
    return [item["img"][..., ::-1], *maps]
