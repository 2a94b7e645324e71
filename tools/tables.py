"""Prints the tables of README and docs that are made from code; with --write, puts each between its
markers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import groupby, product
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.read import load_config
from ibnseg.evaluation.metrics import metrics_table
from ibnseg.evaluation.protocols import protocols_table
from ibnseg.models.complexity import backbone_complexity
from ibnseg.models.names import FAMILIES
from ibnseg.models.variants import VARIANTS
from ibnseg.models.zoo import PAPER_PLAIN, PUBLISHED
from ibnseg.networks.facts import facts_table
from ibnseg.runs.keys import keys_table
from ibnseg.support.files import config_folder

ROOT = Path(__file__).parents[1]
COMMAND = "python tools/tables.py --write"
COLUMNS = ("config", "train", "test", "network", "schedule")


def experiments() -> str:
    """Tabulates the experiments; those that differ only in the network share a row."""
    read = ((path.stem, load_config(path)) for path in config_folder().glob("*.py"))
    found = [(_facts(cfg), _network(cfg.model.backbone), name, cfg) for name, cfg in read]
    found.sort(key=lambda each: each[:3])
    rows = []
    for (train, test, network, schedule), group in groupby(found, lambda each: each[0]):
        *_, names, configs = zip(*group, strict=True)
        titles = _together([cfg.model_title for cfg in configs], " ", most=1)
        rows.append([f"`{_together(names, '_')}`", train, test, f"{titles}; {network}", schedule])
    return markdown(COLUMNS, rows)


def _facts(cfg: Config) -> tuple[str, str, str, str]:
    """Returns training data, test data, head and schedule of an experiment, in words."""
    subset = cfg.get("train_subset", "full")
    domains = Domains.of(cfg)
    train = domains[cfg.train_domain].title + (f", {subset}" * (subset != "full"))
    tests = ", ".join(domains[name].title for name in cfg.test_domains)
    scratch = ", from scratch" * (cfg.model.backbone.get("init_cfg") is None)
    unit = "epochs" if cfg.get("epochs") is not None else "iterations"
    height, width = cfg.crop_size
    schedule = f"{cfg[unit]} {unit}, crop {height}x{width}, batch {cfg.batch}"
    head = cfg.model.decode_head.type.split(".")[-1]
    return train, tests, head + scratch, schedule


def _network(backbone: dict) -> tuple[int, str]:
    """Returns the key by which networks are sorted: by family, those of other libraries
    last."""
    names = [*(network.__name__ for network in FAMILIES.values()), "Torchvision", "Timm", "ViT"]
    kind = names.index(backbone.type.removeprefix("ibnseg."))
    return kind, backbone.get("variant") or ""


def _together(names: Sequence[str], between: str, most: int = 0) -> str:
    """Joins names that are all combinations of their words: ``gta2city_{r50,ibn50a}`` for
    ``gta2city_r50`` and ``gta2city_ibn50a``. Others, and those of which at most ``most`` words
    differ, are listed."""
    words = [dict.fromkeys(at) for at in zip(*(n.split(between) for n in names), strict=False)]
    are_all = sorted(map(between.join, product(*words))) == sorted(names)
    if not are_all or 0 < sum(len(at) > 1 for at in words) <= most:
        return ", ".join(names)
    joined = (next(iter(at)) if len(at) == 1 else f"{{{','.join(at)}}}" for at in words)
    return between.join(joined)


def published() -> str:
    """Tabulates the published checkpoints."""
    rows = [
        [
            f"`{name}`",
            f"{row.parameters / 1e6:.2f} M",
            *("-" if error is None else f"{error:.2f}" for error in (row.top1, row.top5)),
            " / ".join(f"{error:.2f}" for error in PAPER_PLAIN.get(name.partition("_ibn")[0], ())),
            f"[`{row.hash}`]({row.url})",
        ]
        for name, row in PUBLISHED.items()
    ]
    head = ("name", "parameters", "top-1", "top-5", "plain, by the authors", "file, SHA-256")
    return markdown(head, rows)


def costs() -> str:
    """Tabulates parameters and operations of every network, and what its variants add."""
    variants = list(VARIANTS)[1:]
    rows = []
    for family, network in FAMILIES.items():
        for depth in network.DEPTHS:
            known: dict[tuple, int] = {}
            plain = backbone_complexity(f"{family}{depth}", known=known)
            row = [
                f"{TITLES[family]}{depth}",
                f"{plain.parameters / 1e6:.2f} M",
                f"{plain.flops / 1e9:.1f} G",
            ]
            for variant in variants:
                if variant not in network.VARIANTS:
                    row.append("")
                    continue
                own = backbone_complexity(f"{family}{depth}_ibn_{variant}", known=known)
                row.append(" / ".join(map(_more, own, plain)))
            rows.append(row)
    return markdown(("network", "parameters", "FLOPs", *variants), rows)


TITLES = {
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "se_resnet": "SE-ResNet",
    "densenet": "DenseNet",
}


def _more(own: int, plain: int) -> str:
    return "0" if own == plain else f"+{100 * (own - plain) / plain:.2g} %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Formats a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "configs": ("README.md", experiments),
    "published": ("docs/networks.md", published),
    "costs": ("docs/networks.md", costs),
    "keys": ("docs/configs.md", keys_table),
    "facts": ("docs/any_model.md", facts_table),
    "metrics": ("docs/matrix.md", metrics_table),
    "protocols": ("docs/protocols.md", protocols_table),
}
"""For each name of markers, the file that has them and the function that makes the table."""


def insert(name: str, text: str) -> str:
    """Returns the text of a file with a table's present content between its markers."""
    begin, end = f"<!-- {name}: {COMMAND} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{TABLES[name][1]()}{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for name, (file, table) in TABLES.items():
        if sys.argv[1:] == ["--write"]:
            path = ROOT / file
            path.write_text(insert(name, path.read_text()))
        else:
            print(table())
