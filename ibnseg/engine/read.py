"""Reads an experiment by its name or path, with changes from the command line."""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from ibnseg.engine.imports import import_modules
from ibnseg.runs.check import check_names, check_options, check_values
from ibnseg.runs.keys import defaults, is_expanded
from ibnseg.runs.kinds import as_list
from ibnseg.runs.literal import read_value
from ibnseg.runs.recipe import contracted, is_foreign_network
from ibnseg.runs.run import CONFIG, Run
from ibnseg.support.configs import find_config, imports_types, read_config, require_network
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path


def load_config(config: str | Path, options: Sequence[str] | Mapping[str, object] = ()) -> Config:
    """Reads an experiment, and imports the modules in its ``custom_imports``.

    The ``config.py`` of a run becomes the experiment that it was made from.

    Args:
        config: a path, or the name of a config in one of the folders of
            :func:`ibnseg.support.configs.find_config`, e.g. ``gta2city_ibn50a``.
        options: changes by dotted keys, e.g. ``model.backbone.depth``: texts ``key=value``, or
            values by key.

    Raises:
        UserError: if there is no such config, if it or an option cannot be read, and for a key that
            is unknown or cannot be honoured.
    """
    path = find_config(config)
    try:
        cfg = None if imports_types(path) else read_config(path, import_custom_modules=False)
    except Exception as error:  # a config is code: anything may be wrong with it
        raise UserError(f"{path}: cannot be read as a config ({_said(error)})") from error
    if cfg is None:
        raise UserError(
            f"{path}: configs that import their bases or types (read_base) are not supported; name "
            "bases in _base_, types as texts, e.g. type='SGD', and modules in custom_imports"
        )
    is_run = is_expanded(cfg)
    if is_run:
        cfg = Config(contracted(cfg._cfg_dict), filename=str(path))
    else:
        check_names(cfg, str(path))
    _merge(cfg, options)
    if not is_run:
        check_names(cfg, str(path))
    import_modules(cfg)
    return cfg


def config_of(values: Mapping, options: Sequence[str]) -> Config:
    """Makes a config of its values, with changes from the command line.

    Raises:
        UserError: as :func:`load_config` for an option.
    """
    cfg = Config(dict(values))
    _merge(cfg, options)
    return cfg


def _merge(cfg: Config, options: Sequence[str] | Mapping[str, object]) -> None:
    shown = dict(options) if isinstance(options, Mapping) else " ".join(options)
    try:
        values = dict(options) if isinstance(options, Mapping) else _parsed(options)
        check_options(values, cfg)
        cfg.merge_from_dict(values)
    except (AssertionError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"options {shown}: do not fit ({_said(error)})") from error


def with_defaults(cfg: Config) -> Config:
    """Returns an experiment, or that of an expanded config, with a value for every key.

    When it is written, each value has a line; mmengine would take seconds to format it otherwise.

    Raises:
        UserError: for a key that is missing, or has a value of the wrong kind.
    """
    values = contracted(copy.deepcopy(cfg._cfg_dict))
    found = Config(values, filename=cfg.filename, format_python_code=False)
    for key, value in defaults().items():
        found.setdefault(key, value)
    for key in ("test_domains", "protocol"):
        found[key] = as_list(found.get(key))
    if is_foreign_network(found) and not found.test_domains:
        raise UserError(
            f"{found.foreign['source']}: was not trained here, so it has no test domains of its "
            "own; name them (--domains A,B)"
        )
    check_values(found, cfg.filename or "config")
    return found


def find_network(
    source: str | Path, checkpoint: str | Path | None, options: Sequence[str]
) -> tuple[Config, Path]:
    """Finds a network's config and checkpoint.

    Args:
        source: a run's folder, whose tested checkpoint is taken; or a config, by its path or name.
        checkpoint: a config's weights; for a run, another checkpoint of it.
        options: changes to the config, ``key=value``.

    Returns:
        The config, not expanded, and the checkpoint's path.

    Raises:
        UserError: for a folder that is not a run, a run without a checkpoint to test, and a config
            that is given without one.
    """
    source = as_path(source)
    require_network(source, checkpoint)
    if not source.is_dir():
        return load_config(source, options), as_path(checkpoint)
    run = Run.open(source)
    cfg = load_config(source / CONFIG, options)
    if checkpoint is None:
        checkpoint = run.tested
        if not checkpoint.is_file():
            raise UserError(f"{source} is a run without {checkpoint.name}; go on training it")
    return cfg, as_path(checkpoint)


def _said(error: Exception) -> str:
    """What an error says; of mmengine's for a dict over something else, what to do about it."""
    over = _OVER.match(str(error))
    if over is None:
        return str(error)
    key, kind = over.groups()
    was = "None" if kind == "NoneType" else f"of type {kind}"
    return f"{key} is {was} in the base; to replace it, write {key}=dict(_delete_=True, ...)"


_OVER = re.compile(r"(\w+)=.* in child config cannot inherit from base .* type <class '([\w.]+)'>")
"""Matches mmengine's message for a dict in the place of another value: the key, and the value's
type."""


def _parsed(options: Iterable[str]) -> dict[str, object]:
    """Values by dotted key, read as mmengine's command lines read them; one that has a dict in it
    is read as Python writes it, e.g. ``custom_hooks=[dict(type='EMAHook')]``."""
    parser, values = argparse.ArgumentParser(), {}
    parser.add_argument("--options", nargs=1, action=DictAction)
    for option in options:
        key, separator, text = option.partition("=")
        if not separator:
            raise UserError(f"option '{option}': expected key=value")
        if "dict(" in text or "{" in text:
            values[key] = read_value(text)
        else:
            values |= parser.parse_args([f"--options={option}"]).options
    return values
