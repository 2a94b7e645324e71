"""Reading an experiment by its name or path, with changes from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from ibnseg.engine.imports import import_modules
from ibnseg.runs.foreign import WORDS
from ibnseg.runs.keys import KEYS, check_names, is_expanded
from ibnseg.runs.recipe import contracted
from ibnseg.runs.run import CONFIG, Run
from ibnseg.support.configs import find_config, read_config, require_network
from ibnseg.support.errors import UserError, unknown_name


def load_config(config: str | Path, options: Sequence[str] | Mapping[str, object] = ()) -> Config:
    """Reads an experiment, or the ``config.py`` of a run, which becomes an experiment again; the
    modules in its ``custom_imports`` are imported.

    Args:
        config: a path, or the name of a config in one of the folders of
            :func:`ibnseg.support.configs.find_config`, e.g. ``gta2city_ibn50a``.
        options: changes by dotted keys, e.g. ``model.backbone.depth``: texts ``key=value``, or
            values by key.

    Raises:
        UserError: if there is no such config, it or an option cannot be read, or it has a key that
            is unknown or cannot be honoured.
    """
    path = find_config(config)
    try:
        cfg = read_config(path, import_custom_modules=False)
    except Exception as error:  # a config is code: anything may be wrong with it
        raise UserError(f"{path}: cannot be read as a config ({error})") from error
    is_run = is_expanded(cfg)
    if is_run:
        cfg = Config(contracted(cfg._cfg_dict), filename=str(path))
    else:
        check_names(cfg, str(path))
    if isinstance(options, Mapping):
        _check_keys(options, cfg)
        shown, values = f"options {dict(options)}", lambda: dict(options)
    else:
        wrong = [option for option in options if "=" not in option]
        if wrong:
            raise UserError(f"option '{wrong[0]}': expected key=value")
        _check_keys((option.split("=")[0] for option in options), cfg)
        parser = argparse.ArgumentParser()
        parser.add_argument("--options", nargs="+", action=DictAction, default={})
        arguments = ["--options", *options] if options else []
        shown = f"options {' '.join(options)}"
        values = lambda: parser.parse_args(arguments).options  # noqa: E731
    try:
        cfg.merge_from_dict(values())
    except (AssertionError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{shown}: do not fit ({error})") from error
    if not is_run:
        check_names(cfg, str(path))
    import_modules(cfg)
    return cfg


def find_network(
    source: str | Path, checkpoint: str | Path | None, options: Sequence[str]
) -> tuple[Config, Path]:
    """A network's config and checkpoint.

    Args:
        source: a run's folder, whose tested checkpoint is taken; or a config, by its path or name.
        checkpoint: a config's weights; for a run, another checkpoint of it.
        options: changes to the config, ``key=value``.

    Raises:
        UserError: for a folder that is not a run, and a config without checkpoint.
    """
    source = Path(source).expanduser()
    require_network(source, checkpoint)
    if not source.is_dir():
        return load_config(source, options), Path(checkpoint).expanduser()
    run = Run.open(source)
    cfg = load_config(source / CONFIG, options)
    if checkpoint is None:
        checkpoint = run.tested
        if not checkpoint.is_file():
            raise UserError(f"{source}: a run without {checkpoint.name}; go on training it")
    return cfg, Path(checkpoint)


def _check_keys(options: Iterable[str], cfg: Config) -> None:
    known = {*cfg.keys(), *KEYS, *WORDS}
    for option in options:
        key = option.split(".")[0]
        if key not in known:
            raise unknown_name("config key", key, known)
