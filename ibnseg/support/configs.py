"""Finds configs and runs by path or name, and reads config files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ibnseg.support.data_files import list_files, list_folders
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import as_path, config_folders
from ibnseg.support.reading import MOST_TEXT, regular_file

if TYPE_CHECKING:
    from mmengine.config import Config


def config_files(kind: str = "") -> dict[str, Path]:
    """Finds the configs that can be given by name, in each of
    :func:`~ibnseg.support.files.config_folders`; the first of a name counts.

    Args:
        kind: the sub-folder to look in, e.g. ``suites``; by default the folders themselves.
    """
    return first_by_name(folder / kind for folder in config_folders())


def first_by_name(folders: Iterable[Path]) -> dict[str, Path]:
    """Maps names without suffix to the Python files of some folders; the first folder that has a
    name counts. Hidden files are left out."""
    files = {}
    for folder in folders:
        for path in list_files(folder, ".py"):
            files.setdefault(path.stem, path)
    return files


def find_config(config: str | Path) -> Path:
    """Finds a config by its path or name.

    Args:
        config: a path, or the name of a config.

    Raises:
        UserError: if there is no such config (it names the nearest ones), or it is not a regular
            file.
    """
    path, known = as_path(config), config_files()
    if path.exists() and not path.is_dir():
        return regular_file(path, MOST_TEXT)
    if str(config) in known:
        return known[str(config)]
    if not path.suffix and len(path.parts) == 1:
        file = path.with_suffix(".py")
        if file.is_file():
            raise UserError(f"unknown config '{config}'; did you mean the file {file}?")
        raise unknown_name("config", str(config), known)
    beside = {str(each): each for each in list_files(path.parent, path.suffix)}
    near = difflib.get_close_matches(str(path), beside, n=3, cutoff=0.8)
    near += difflib.get_close_matches(path.stem, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "none nearby has a similar name"
    raise UserError(f"{path}: no such config; {hint}")


def find_suite(suite: str | Path) -> Path:
    """Finds a suite by its path, or by its name in the folders of configs.

    Raises:
        UserError: if there is no such suite (it names the nearest ones), or it is not a regular
            file.
    """
    path = as_path(suite)
    if not path.exists() or path.is_dir():
        known = config_files("suites")
        if str(suite) not in known:
            raise unknown_name("suite", str(suite), known)
        path = known[str(suite)]
    return regular_file(path, MOST_TEXT)


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
        if "::" in name:  # a config of an installed package
            return beside(name, filename)
        return str(find_base(name, filename)), None

    Config._get_cfg_path = staticmethod(anywhere)
    try:
        with _skipping_marks():
            return Config.fromfile(path, **kwargs)
    finally:
        Config._get_cfg_path = staticmethod(beside)


def find_base(name: str, file: str | Path) -> Path:
    """Finds the file that a config names in its ``_base_``: beside the config, or else in the first
    of :func:`~ibnseg.support.files.config_folders` that has it.

    Args:
        name: the path in ``_base_``.
        file: the config.

    Returns:
        The path, beside the config if there is no such file.
    """
    found = Path(file).parent / as_path(name)
    if found.is_file():
        return found
    _, base, after = found.as_posix().rpartition("/_base_/")
    below = f"_base_/{after}" if base else name
    places = [folder / below for folder in config_folders()]
    return next((place for place in places if place.is_file()), found)


def imports_types(path: str | Path) -> bool:
    """Whether a config imports its bases or types (mmengine's ``read_base``), instead of naming
    them as texts."""
    from mmengine.config import Config

    with _skipping_marks():
        return Config._is_lazy_import(str(path))


@contextmanager
def _skipping_marks() -> Iterator[None]:
    """Lets mmengine read config files that begin with a byte-order mark, as some editors write."""
    from mmengine.config import config

    def skipping(name: str, mode: str = "r", encoding: str = "utf-8") -> IO[str]:
        return open(name, mode, encoding="utf-8-sig" if mode == "r" else encoding)

    config.open = skipping
    try:
        yield
    finally:
        config.__dict__.pop("open", None)


def require_run(folder: str | Path) -> None:
    """Checks that a folder is that of a run, which has a config.py.

    Raises:
        UserError: if it is not; it names the runs in it, if there are some.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise no_such_run(folder)
    if not (folder / "config.py").is_file():
        below = [each.name for each in list_folders(folder) if (each / "config.py").is_file()]
        hint = f"; it holds the runs {', '.join(below)}: give one of these" if below else ""
        if (folder / "config.json").is_file():
            hint = (
                f"; ibnseg pull {folder} makes a run of what push wrote, hf:{folder} names others"
            )
        elif (folder / "predictions.json").is_file():
            hint = f"; predictions:{folder} names the label maps in it"
        raise UserError(f"{folder} is not a run folder (no config.py){hint}")


def no_such_run(folder: Path) -> UserError:
    """Makes the error for a run's folder that is not there; it names the nearest folder."""
    if folder.exists():
        return UserError(f"{folder} is not a run folder (it is a file)")
    near = _nearest(folder)
    return UserError(
        f"{folder} is not a run folder (no such folder{f'; nearest: {near}' if near else ''})"
    )


def _nearest(folder: Path) -> Path | None:
    """The folder whose path is most like that of a missing one, part by part; None if none is."""
    found = Path(folder.anchor)
    for part in folder.parts[bool(folder.anchor) :]:
        if not (found / part).is_dir():
            beside = [each.name for each in list_folders(found)]
            part = next(iter(difflib.get_close_matches(part, beside, n=1)), None)
            if part is None:
                return None
        found /= part
    return found


def require_network(source: str | Path, checkpoint: str | Path | None) -> None:
    """Checks what names a network: the folder of a run, or a config together with a checkpoint.

    The checkpoint is not looked for.

    Args:
        source: the folder of a run, or the path or name of a config.
        checkpoint: the path or address of weights, which a config needs.

    Raises:
        UserError: if there is no such run or config, or a config comes without a checkpoint.
    """
    path = as_path(source)
    is_name = len(path.parts) == 1 and str(source) in config_files()
    if path.is_dir():
        require_run(path)
    elif not (path.suffix or path.is_file() or is_name):
        near = difflib.get_close_matches(str(source), config_files(), n=3, cutoff=0.5)
        nor = f" nor a config; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"{no_such_run(path)}{nor}")
    else:
        find_config(source)
        if checkpoint is None:
            raise UserError(f"{source}: a config needs a checkpoint; or give the folder of a run")
