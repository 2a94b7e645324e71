"""Finding and reading an experiment by its name or path."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from ibnseg.engine.expand import DEFAULTS, OPTIONAL, REQUIRED
from ibnseg.errors import UserError, unknown_name
from ibnseg.files import config_folder


def load_config(config: str | Path, options: Sequence[str] = ()) -> Config:
    """Reads an experiment.

    Args:
        config: a path, or the name of a config that comes with the package, as ``gta2city_ibn50a``.
        options: changes, each ``key=value`` with a dotted key, as ``model.backbone.depth=101``.

    Raises:
        UserError: if there is no such config, or it or an option cannot be read.
    """
    path = Path(config)
    if not path.is_file():
        packaged = {file.stem: file for file in config_folder().glob("*.py")}
        if path.suffix or len(path.parts) > 1:
            raise UserError(
                f"{path}: no such config; those of the package go by name: {_names(packaged)}"
            )
        if str(config) not in packaged:
            raise unknown_name("config", str(config), packaged)
        path = packaged[str(config)]
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: anything may be wrong with it
        raise UserError(f"{path}: cannot be read as a config ({error})") from error
    if options:
        wrong = [option for option in options if "=" not in option]
        if wrong:
            raise UserError(f"option '{wrong[0]}': expected key=value")
        known = cfg.keys() | DEFAULTS.keys() | set(REQUIRED) | set(OPTIONAL)
        for option in options:
            key = option.split("=")[0].split(".")[0]
            if key not in known:
                raise unknown_name("config key", key, known)
        parser = argparse.ArgumentParser()
        parser.add_argument("--options", nargs="+", action=DictAction)
        try:
            cfg.merge_from_dict(parser.parse_args(["--options", *options]).options)
        except (AssertionError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UserError(f"options {' '.join(options)}: do not fit ({error})") from error
    return cfg


def _names(packaged: dict[str, Path]) -> str:
    return ", ".join(sorted(packaged))
