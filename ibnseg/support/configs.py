"""Finds configs and runs by path or name, and reads config files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import config_folders

if TYPE_CHECKING:
    from mmengine.config import Config


def config_files(kind: str = "") -> dict[str, Path]:
    """The configs that go by name, each the first that
    :func:`~ibnseg.support.files.config_folders` have.

    Args:
        kind: the folder in those folders, e.g. ``suites``; the configs themselves by default.
    """
    return first_by_name(folder / kind for folder in config_folders())


def first_by_name(folders: Iterable[Path]) -> dict[str, Path]:
    """The Python files of some folders by their names without suffix, each in the first folder that
    has it; hidden files are left out."""
    files = {}
    for folder in folders:
        for path in sorted(folder.glob("[!.]*.py")):
            files.setdefault(path.stem, path)
    return files


def find_config(config: str | Path) -> Path:
    """The path of a config.

    Args:
        config: a path, or the name of a config.

    Raises:
        UserError: if there is no such config.
    """
    path, known = Path(config).expanduser(), config_files()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        what = "config" if path.suffix else "run folder or config"
        raise UserError(f"{path}: no such {what}; {_nearest(path, known)}")
    if str(config) not in known:
        raise unknown_name("config", str(config), known)
    return known[str(config)]


def _nearest(path: Path, known: Iterable[str]) -> str:
    """A hint for a path that is not there: what lies beside it, else the configs' names."""
    beside = {str(each) for each in path.parent.glob(f"*{path.suffix}")}
    near = difflib.get_close_matches(str(path), beside, n=3, cutoff=0.8)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"these go by name: {', '.join(sorted(known))}"


def read_config(path: str | Path, **kwargs: bool) -> Config:
    """Reads a config file; what its ``_base_`` names may lie in a config folder, too.

    mmengine searches ``_base_/models/x.py`` beside the file that names it. If it is not there, the
    first of :func:`~ibnseg.support.files.config_folders` that has it is used, so that a project
    need not copy the package's configs.

    Args:
        path: the file.
        kwargs: the arguments of mmengine's ``Config.fromfile``.
    """
    from mmengine.config import Config

    beside = Config._get_cfg_path

    def anywhere(name: str, filename: str) -> tuple[str, str | None]:
        found, scope = beside(name, filename)
        if scope is None and not Path(found).is_file():
            _, base, after = Path(found).as_posix().rpartition("/_base_/")
            below = f"_base_/{after}" if base else name
            found = next(
                (str(folder / below) for folder in config_folders() if (folder / below).is_file()),
                found,
            )
        return found, scope

    Config._get_cfg_path = staticmethod(anywhere)
    try:
        return Config.fromfile(path, **kwargs)
    finally:
        Config._get_cfg_path = staticmethod(beside)


def require_run(folder: str | Path) -> None:
    """Raises a UserError for everything but the folder of a run, known by its config.py."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the folder of a run")
    if not (folder / "config.py").is_file():
        below = sorted(each.parent.name for each in folder.glob("*/config.py"))
        hint = f"; it holds the runs {', '.join(below)}: give one of these" if below else ""
        raise UserError(f"{folder} is not a run folder (no config.py){hint}")


def require_network(source: str | Path, checkpoint: str | Path | None) -> None:
    """Checks that what names a network is there: the folder of a run, or a config and a checkpoint.

    Raises:
        UserError: if it is neither, or a file is missing.
    """
    if Path(source).expanduser().is_dir():
        require_run(source)
    else:
        find_config(source)
        if checkpoint is None:
            raise UserError(f"{source}: a config needs a checkpoint; or give the folder of a run")
