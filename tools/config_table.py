"""Prints the table of experiments; with --write, puts it into README.md between its markers."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from mmengine.config import Config

from ibnseg.engine.config import load_config
from ibnseg.engine.domains import get_domain
from ibnseg.files import config_folder

README = Path(__file__).parents[1] / "README.md"
COMMAND = "python tools/config_table.py --write"
BEGIN, END = f"<!-- configs: {COMMAND} -->\n", "<!-- end of configs -->\n"
COLUMNS = ("config", "train", "test", "network", "schedule")


def table() -> str:
    """The experiments as a Markdown table; those that differ in the network alone share a row."""
    experiments = [(path.stem, load_config(path)) for path in config_folder().glob("*.py")]
    experiments.sort(key=lambda e: (_facts(e[1]), e[1].model.backbone.get("variant") or "", e[0]))
    rows = [COLUMNS, ["---"] * len(COLUMNS)]
    for (train, test, network, schedule), group in groupby(experiments, lambda e: _facts(e[1])):
        names, configs = zip(*group, strict=True)
        titles = ", ".join(cfg.model_title for cfg in configs)
        rows.append([_together(names), train, test, f"{titles}; {network}", schedule])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def insert(text: str) -> str:
    """A README's text with the table of today between the markers."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def _facts(cfg: Config) -> tuple[str, str, str, str]:
    """What a row says of an experiment beside its name and its network's."""
    subset = cfg.get("train_subset", "full")
    train = get_domain(cfg.train_domain, cfg)["title"] + (f", {subset}" * (subset != "full"))
    tests = ", ".join(get_domain(name, cfg)["title"] for name in cfg.test_domains)
    scratch = ", from scratch" * (cfg.model.backbone.get("init_cfg") is None)
    unit = "epochs" if cfg.get("epochs") is not None else "iterations"
    height, width = cfg.crop_size
    schedule = f"{cfg[unit]} {unit}, crop {height}x{width}, batch {cfg.batch}"
    head = cfg.model.decode_head.type.split(".")[-1]
    return train, tests, head + scratch, schedule


def _together(names: tuple[str, ...]) -> str:
    """``gta2city_r50`` and ``gta2city_ibn50a``, one word apart, as ``gta2city_{r50,ibn50a}``."""
    split = [name.split("_") for name in names]
    words = [list(dict.fromkeys(at)) for at in zip(*split, strict=False)]
    if len(set(map(len, split))) > 1 or sum(len(at) > 1 for at in words) > 1:
        return f"`{', '.join(names)}`"
    joined = (at[0] if len(at) == 1 else f"{{{','.join(at)}}}" for at in words)
    return f"`{'_'.join(joined)}`"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        README.write_text(insert(README.read_text()))
    else:
        print(table(), end="")
