"""Reads a suite's file: the runs that it lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.automatic import resolved
from ibnseg.engine.read import load_config
from ibnseg.runs.keys import KEYS
from ibnseg.runs.recipe import DOMAIN, decisive, hash_of, module_hashes, train_domains
from ibnseg.runs.revisions import REVISIONS, revisions_of
from ibnseg.support.configs import find_suite, read_config
from ibnseg.support.errors import UserError

ENTRY = ("config", "title", "options", "seeds", "start")
"""The keys that an entry in a suite's list may have."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of a suite; two with the same identity and seed are the same training."""

    identity: str
    """A hash of all that decides what the training comes to; it is the same in every suite and for
    every seed."""
    seed: int
    config: str = field(compare=False)
    """The name or path of its config."""
    title: str = field(compare=False)
    """The name of its network in tables."""
    cfg: Config = field(compare=False, repr=False)
    """The config with its options."""
    start: PlannedRun | None = field(compare=False, default=None)
    """The run whose weights it starts from."""

    @property
    def name(self) -> str:
        """The name of its folder; by the hash, runs of one config differ, and a run that another
        suite has trained is found again."""
        return f"{Path(self.config).stem}-{self.identity}/seed{self.seed}"


@dataclass(frozen=True)
class Suite:
    """A list of runs, each after the one that it starts from."""

    name: str
    title: str
    runs: tuple[PlannedRun, ...]


def read_suite(source: str | Path) -> Suite:
    """Reads a suite.

    A suite's file has ``title``, ``seeds``, and ``runs``, a list of dicts. Each has ``config``, a
    name or a path; and, if wanted, ``title``, instead of the config's ``model_title``; ``options``,
    a dict of values by dotted keys; ``seeds``, instead of the suite's; ``start``, the title of an
    earlier entry: its run with the same seed (or with its only seed) is finished first, and the
    training starts from that run's weights.

    Args:
        source: a path, or the name of a suite.

    Raises:
        UserError: if there is no such suite, its file is not as above, or a training is in it
            twice.
    """
    path = find_suite(source)
    try:
        cfg = read_config(path)
    except Exception as error:  # it is code: anything may be wrong with it
        raise UserError(f"{path}: cannot be read as a suite ({error})") from error
    entries, title = cfg.get("runs"), cfg.get("title", path.stem)
    if isinstance(entries, str) or not isinstance(entries, Sequence) or not entries:
        raise UserError(f"{path}: runs is {entries!r}, expected a list of dicts")
    runs: list[PlannedRun] = []
    for i, entry in enumerate(entries):
        where = f"{path}: runs[{i}]"
        for run in _runs(where, entry, cfg.get("seeds", (0,)), runs):
            if run in runs:
                same = runs[runs.index(run)]
                raise UserError(
                    f"{where}: the training of {same.title!r} with seed {run.seed} is listed above "
                    "already; list it once"
                )
            runs.append(run)
    return Suite(path.stem, title, tuple(runs))


def _runs(
    where: str, entry: object, seeds: object, earlier: Sequence[PlannedRun]
) -> Iterator[PlannedRun]:
    if not isinstance(entry, Mapping) or "config" not in entry or not {*entry} <= {*ENTRY}:
        raise UserError(
            f"{where} is {entry!r}, expected a dict with config, and with no other keys than "
            f"{', '.join(ENTRY)}"
        )
    config, options, seeds = entry["config"], entry.get("options", {}), entry.get("seeds", seeds)
    for key, value, kind in (("config", config, str), ("options", options, Mapping)):
        if not isinstance(value, kind):
            what = "a name or path" if kind is str else "a dict"
            raise UserError(f"{where}: {key} is {value!r}, expected {what}")
    if not isinstance(seeds, Sequence) or not all(isinstance(s, int) and s >= 0 for s in seeds):
        raise UserError(f"{where}: seeds is {seeds!r}, expected a list of whole numbers from 0")
    cfg = load_config(config, options)
    title = entry.get("title") or cfg.get("model_title") or Path(config).stem
    for seed in seeds:
        start = None if "start" not in entry else _start(where, entry["start"], seed, earlier)
        yield PlannedRun(_identity(where, cfg, seed, start), seed, config, title, cfg, start)


def _start(where: str, title: str, seed: int, earlier: Sequence[PlannedRun]) -> PlannedRun:
    """Returns the earlier run with this title, and with this seed if there are several."""
    titled = [run for run in earlier if run.title == title]
    found = titled if len(titled) == 1 else [run for run in titled if run.seed == seed]
    if len(found) != 1:
        seeds = [run.seed for run in titled]
        raise UserError(
            f"{where}: start is {title!r}, expected the title of an entry above with one run, or "
            f"with a run of seed {seed}; "
            + (f"that title has seeds {seeds}" if seeds else "no entry above has that title")
        )
    return found[0]


def _identity(where: str, cfg: Config, seed: int, start: PlannedRun | None) -> str:
    key = KEYS["train_domain"]
    if not key.kind.accepts(cfg.get("train_domain")):
        raise UserError(
            f"{where}: train_domain is {cfg.get('train_domain')!r}, expected {key.kind.words}"
        )
    values = decisive({**cfg, **resolved(cfg)}, testing=True)
    lengths = (key.name for key in KEYS.values() if key.decides == "length")
    values |= {name: cfg[name] for name in lengths if cfg.get(name) is not None}
    names, known = train_domains(cfg), Domains.of(cfg)
    for name in names:
        prefix = "domain" if len(names) == 1 else f"domain {name}"
        facts = {f"{prefix}.{key}": getattr(known[name], key) for key in DOMAIN}
        values |= {key: value for key, value in facts.items() if value is not None}
    values |= module_hashes(cfg) | revisions_of({**cfg, "revisions": REVISIONS})
    if start is not None:
        own = start.seed == seed
        values["start_from"] = start.identity if own else f"{start.identity}, seed {start.seed}"
    return hash_of(values)[:8]


def waves(runs: Sequence[PlannedRun]) -> Iterator[list[int]]:
    """Yields groups of indices of runs; the runs of a group need only runs of earlier groups."""
    depth: dict[PlannedRun, int] = {}
    for run in runs:
        depth[run] = 0 if run.start is None else depth[run.start] + 1
    for level in sorted(set(depth.values())):
        yield [i for i, run in enumerate(runs) if depth[run] == level]
