"""The recipe of a training: everything except the seed that decides what is learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ibnseg.runs.keys import DERIVED, KEYS, RECORDED, REQUIRED, is_expanded
from ibnseg.runs.kinds import as_list
from ibnseg.runs.mmengine_keys import WORDS
from ibnseg.runs.revisions import revisions_of
from ibnseg.support.errors import UserError

DOMAIN = ("dataset", "train_split", "train_resize")
"""Keys of a training domain's file that decide what is learnt."""

OF_A_PROCESS = "images of a process"
"""The name under which a recipe records how many images a process has in a step. It does so if
each process has batch statistics of its own."""

MODULE = "module "
"""The beginning of the names under which a recipe records the hashes of the user's packages."""


def is_foreign_network(cfg: Mapping) -> bool:
    """Whether a config is of a network that was not trained here."""
    return cfg.get("foreign") is not None


def sees_images(cfg: Mapping) -> bool:
    """Whether a config is of a network that images are shown to, and not of label maps."""
    return not is_foreign_network(cfg) or cfg["foreign"]["sees_images"]


def train_domains(cfg: Mapping) -> list[str]:
    """Names the training domains of a config, one or several."""
    return list(as_list(cfg["train_domain"]))


def domain_label(cfg: Mapping) -> str:
    """Makes the name that results give to the training domains: theirs, joined by ``+``."""
    return "+".join(train_domains(cfg))


def contracted(cfg: Mapping) -> dict:
    """Undoes the expansion of a config: what was derived goes, what the user had set comes back.

    A config that is not expanded is returned as it is.
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

    Because defaults are left out, a key that a later version adds changes no recipe made before.

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
    """Collects the recipe of a run: all that decides what is learnt, but the seed.

    Args:
        cfg: the run's expanded config.

    Returns:
        Values by name, as JSON has them.

    Raises:
        UserError: if the config lacks a value that decides.
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
    values |= module_hashes(cfg) | revisions_of(cfg) | {"iterations": length}
    return json.loads(json.dumps(values, default=str))


def module_hashes(cfg: Mapping) -> dict[str, str]:
    """Returns the hash of each package of the user's own that a config imports."""
    return {MODULE + each["name"]: each["sha256"] for each in cfg.get("modules") or ()}


def _train_domains_of(cfg: Mapping) -> dict[str, Mapping]:
    domains = cfg.get("domains") or {}
    return {name: domains[name] for name in train_domains(cfg) if name in domains}


def hash_of(values: Mapping) -> str:
    """Computes the SHA-256, in hexadecimal, of plain values by name, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differences(one: Mapping, other: Mapping) -> list[str]:
    """Names the values in which two recipes differ, in alphabetical order."""
    names = sorted({*one, *other})
    return [n for n in names if not _same(one.get(n, REQUIRED), other.get(n, REQUIRED))]


def _same(one: object, other: object) -> bool:
    """Whether two values are the same as JSON has them: a tuple is a list."""
    if one is REQUIRED or other is REQUIRED:
        return one is other
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(
        other, sort_keys=True, default=str
    )
