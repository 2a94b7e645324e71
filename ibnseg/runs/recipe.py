"""The recipe of a training: everything except the seed that decides what is learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ibnseg.runs.foreign import WORDS
from ibnseg.runs.keys import DERIVED, KEYS, RECORDED, REQUIRED, is_expanded
from ibnseg.support.errors import UserError

DOMAIN = ("dataset", "train_split", "train_resize")
"""Keys of a training domain that decide what is learnt."""

OF_A_PROCESS = "images of a process"
"""The name under which a recipe holds what batch statistics are of, if each process has its own."""

MODULE = "module "
"""The beginning of the names under which a recipe holds the hashes of packages."""


def train_domains(cfg: Mapping) -> list[str]:
    """Names of the training domains of a config, of which there may be one."""
    value = cfg["train_domain"]
    return [value] if isinstance(value, str) else list(value)


def domain_label(cfg: Mapping) -> str:
    """What results call the training domains: their names, joined by ``+``."""
    return "+".join(train_domains(cfg))


def contracted(cfg: Mapping) -> dict:
    """An expanded config as it was before: without what was derived, with the user's own words.

    A config that is not expanded comes back as it is.
    """
    if not is_expanded(cfg):
        return dict(cfg)
    kept = {name: value for name, value in cfg.items() if name not in DERIVED}
    for name in RECORDED:
        if cfg.get(name) is not None:
            kept[name] = cfg[name]
    return kept | dict(cfg.get("given") or {})


def decisive(cfg: Mapping, testing: bool = False) -> dict[str, object]:
    """Selects the values of a config that decide what is learnt and are not the defaults.

    A key that is new, with its default, so changes nothing.

    Args:
        cfg: an experiment, expanded or not.
        testing: whether to include the values that decide what is measured.
    """
    own = contracted(cfg)
    wanted = {"training"}
    wanted |= {"testing"} if testing else set()
    wanted |= {"selection"} if own.get("save_best") else set()
    keys = [key for key in KEYS.values() if key.decides in wanted]
    values = {key.name: own.get(key.name, key.default) for key in keys}
    found = {name: v for name, v in values.items() if not _same(v, KEYS[name].default)}
    words = {name: own.get(name) for name, word in WORDS.items() if word.decides and own.get(name)}
    for name, value in words.items():
        if WORDS[name].but and isinstance(value, Mapping):
            words[name] = {key: each for key, each in value.items() if key not in WORDS[name].but}
    return found | {name: value for name, value in words.items() if value}


def recipe_values(cfg: Mapping) -> dict[str, object]:
    """The recipe of a run, as plain data.

    Args:
        cfg: the run's expanded config.

    Raises:
        UserError: if the config lacks something that decides.
    """
    values = decisive(cfg)
    needed = [n for n, k in KEYS.items() if k.default is REQUIRED and k.decides == "training"]
    lost = [name for name in needed if cfg.get(name) is None]
    length = (cfg.get("train_cfg") or {}).get("max_iters")
    if lost or length is None:
        raise UserError(f"no value for {', '.join([*lost, *([] if length else ['train_cfg'])])}")
    start = values.get("start_from")
    if start and Path(start).name == f"seed{cfg.get('seed')}":  # a run of the same seed
        values["start_from"] = str(Path(start).parent)
    if values.get("sync_bn", "torch") is None:
        values[OF_A_PROCESS] = (cfg.get("train_dataloader") or {}).get("batch_size")
    for name, domain in _train_domains_of(cfg).items():
        values |= {f"{name}.{key}": domain.get(key) for key in DOMAIN}
    values |= module_hashes(cfg) | {"iterations": length}
    return json.loads(json.dumps(values, default=str))


def module_hashes(cfg: Mapping) -> dict[str, str]:
    """The hash of each package of the user's own that a config imports."""
    return {MODULE + each["name"]: each["sha256"] for each in cfg.get("modules") or ()}


def _train_domains_of(cfg: Mapping) -> dict[str, Mapping]:
    domains = cfg.get("domains") or {}
    return {name: domains[name] for name in train_domains(cfg) if name in domains}


def hash_of(values: Mapping) -> str:
    """A SHA-256 of plain values by name, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differences(one: Mapping, other: Mapping) -> list[str]:
    """Names of the values in which two recipes differ."""
    names = sorted({*one, *other})
    return [n for n in names if not _same(one.get(n, REQUIRED), other.get(n, REQUIRED))]


def _same(one: object, other: object) -> bool:
    """Whether two values are the same as JSON has them: a tuple is a list."""
    if one is REQUIRED or other is REQUIRED:
        return one is other
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(
        other, sort_keys=True, default=str
    )
