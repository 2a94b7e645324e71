"""Checks of an experiment's keys: names that nothing reads, and values of the wrong kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ibnseg.runs.keys import KEYS, RECORDED, REQUIRED
from ibnseg.runs.kinds import TEXTS, is_texts
from ibnseg.runs.mmengine_keys import MODEL_FILE_KEYS, REFUSED, WORDS
from ibnseg.runs.recipe import is_foreign_network
from ibnseg.support.errors import UserError, unknown_name


def check_names(cfg: Mapping, source: str) -> None:
    """Checks the top-level keys of an experiment.

    Args:
        cfg: the config, not expanded.
        source: what errors call it, such as its path.

    Raises:
        UserError: for an unknown key, with the nearest names, and for one of mmengine's that cannot
            be honoured, with the reason.
    """
    extra = cfg.get("extra") or ()
    if not is_texts(extra):
        raise UserError(f"{source}: extra is {extra!r}, expected {TEXTS.words}")
    known = {*KEYS, *WORDS, *MODEL_FILE_KEYS, *extra, *RECORDED}
    for name, value in cfg.items():
        if name in known:
            continue
        if name in REFUSED:
            if value is None or (name == "resume" and value is False):
                continue  # mmengine's default, which asks for nothing
            raise _refused(source, name)
        error = unknown_name("config key", name, known)
        raise UserError(f"{source}: {error}; a variable of the file goes into extra = ('{name}',)")


def check_options(names: Iterable[str], cfg: Mapping) -> None:
    """Checks the keys that are changed on the command line.

    Args:
        names: dotted keys, e.g. ``model.backbone.depth``.
        cfg: the config, whose own names may be changed too.

    Raises:
        UserError: as :func:`check_names`.
    """
    known = {*cfg.keys(), *KEYS, *WORDS}
    for name in names:
        top = name.split(".")[0]
        if top in REFUSED:
            raise _refused(f"option '{name}'", top)
        if top not in known:
            raise unknown_name("config key", top, known)


def _refused(source: str, name: str) -> UserError:
    return UserError(f"{source}: {name} cannot be honoured: {REFUSED[name]}")


def check_values(cfg: Mapping, source: str) -> None:
    """Checks the value of every key; a key that is not set has its default.

    A network that was not trained here needs no key that decides a training.

    Args:
        cfg: the config.
        source: what errors call it, such as its path.

    Raises:
        UserError: for a required key without a value, and for a value of the wrong kind.
    """
    needed = [key for key in KEYS.values() if key.default is REQUIRED]
    if is_foreign_network(cfg):
        needed = [key for key in needed if key.decides not in ("training", "length")]
    missing = [key.name for key in needed if cfg.get(key.name) is None]
    if missing:
        raise UserError(f"{source}: no value for {', '.join(missing)}")
    for name, key in KEYS.items():
        value = cfg.get(name, key.default)
        if value is REQUIRED:
            continue
        if not key.kind.accepts(value):
            raise UserError(f"{source}: {name} is {value!r}, expected {key.kind.words}")
