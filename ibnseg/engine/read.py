"""Finding and reading an experiment by its name or path."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from ibnseg.engine.expand import DEFAULTS, OPTIONAL, REQUIRED
from ibnseg.support.configs import find_config
from ibnseg.support.errors import UserError, unknown_name


def load_config(config: str | Path, options: Sequence[str] | Mapping[str, object] = ()) -> Config:
    """Reads an experiment.

    Args:
        config: a path, or the name of a config, e.g. ``gta2city_ibn50a``.
        options: changes by dotted keys, as ``model.backbone.depth``: texts ``key=value``, or values
            by key.

    Raises:
        UserError: if there is no such config, or it or an option cannot be read.
    """
    path = find_config(config)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: anything may be wrong with it
        raise UserError(f"{path}: cannot be read as a config ({error})") from error
    if isinstance(options, Mapping):
        _check_keys(options, cfg)
        told, values = f"options {dict(options)}", lambda: dict(options)
    else:
        wrong = [option for option in options if "=" not in option]
        if wrong:
            raise UserError(f"option '{wrong[0]}': expected key=value")
        _check_keys((option.split("=")[0] for option in options), cfg)
        parser = argparse.ArgumentParser()
        parser.add_argument("--options", nargs="+", action=DictAction, default={})
        words = ["--options", *options] if options else []
        told, values = f"options {' '.join(options)}", lambda: parser.parse_args(words).options
    try:
        cfg.merge_from_dict(values())
    except (AssertionError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{told}: do not fit ({error})") from error
    return cfg


def _check_keys(options: Iterable[str], cfg: Config) -> None:
    known = cfg.keys() | DEFAULTS.keys() | set(REQUIRED) | set(OPTIONAL)
    for option in options:
        key = option.split(".")[0]
        if key not in known:
            raise unknown_name("config key", key, known)
