"""Imports modules of the user's own (``custom_imports``), which a run of the config finds again."""

from __future__ import annotations

import hashlib
import importlib
import logging
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ibnseg.runs.kinds import as_list
from ibnseg.support.data_files import list_files_below
from ibnseg.support.errors import UserError
from ibnseg.support.reading import MOST_TEXT, read_bytes


def import_modules(cfg: Config) -> None:
    """Imports the modules in a config's ``custom_imports``, and sets its ``modules``.

    Modules are looked for in Python's path first, so that ``PYTHONPATH`` decides if it is set. Next
    come the working folder, the config's folder and the one above it; for a run, only the folder
    that it recorded. ``modules`` has name, folder and SHA-256 of each package that was found.

    Raises:
        UserError: for a module that is not found or fails on import, and for a package that is
            loaded from another folder with other content.
    """
    wanted = cfg.get("custom_imports")
    if not wanted:
        return
    if not isinstance(wanted, Mapping) or not {*wanted} <= {"imports", "allow_failed_imports"}:
        raise UserError(
            f"{cfg.filename or 'config'}: custom_imports is {wanted!r}, expected "
            "dict(imports=['mymethod'])"
        )
    names = list(as_list(wanted.get("imports") or []))
    recorded = {module["name"]: module for module in cfg.get("modules") or ()}
    found = {}
    for name in names:
        top = name.split(".")[0]
        if top == "ibnseg":  # its version is recorded anyway
            importlib.import_module(name)
            continue
        try:
            _make_findable(top, recorded.get(top), _beside(cfg))
            importlib.import_module(name)
        except UserError:
            if not wanted.get("allow_failed_imports"):
                raise
            print_log(
                f"custom_imports: {name} cannot be found; the config allows that",
                "current",
                logging.WARNING,
            )
            continue
        except Exception as error:  # a module is code: anything may be wrong with it
            raise UserError(
                f"custom_imports: {name} cannot be imported ({type(error).__name__}: {error})"
            ) from error
        found[top] = describe_package(top)
        _compare(found[top], recorded.get(top))
    cfg.modules = list(found.values())


def import_named(names: Iterable[str], where: str) -> None:
    """Imports modules that the user named outside of a config.

    They are looked for in Python's path and the working folder.

    Args:
        names: the modules.
        where: what errors say of where they were named, e.g. ``--import``.

    Raises:
        UserError: for a module that is not found or fails on import.
    """
    try:
        import_modules(Config(dict(custom_imports=dict(imports=list(names)))))
    except UserError as error:
        raise UserError(str(error).replace("custom_imports", where, 1)) from error


def _beside(cfg: Config) -> list[Path]:
    """Folders in which a config's own modules may lie."""
    made_from = cfg.get("made_from") or cfg.filename
    folders = [Path.cwd()]
    if made_from and not cfg.get("modules"):
        folder = Path(made_from).resolve().parent
        folders += [folder, folder.parent]
    return list(dict.fromkeys(folders))


def _make_findable(name: str, recorded: Mapping | None, beside: Iterable[Path]) -> None:
    """Puts the folder of a package on Python's path, if it is not found there already."""
    if name in sys.modules or find_spec(name) is not None:
        return
    folders = [Path(recorded["folder"])] if recorded else list(beside)
    for folder in folders:
        if _holds(folder, name):
            sys.path.append(str(folder))
            importlib.invalidate_caches()
            return
    if recorded:
        raise UserError(
            f"custom_imports: {name} was in {recorded['folder']} and is no longer there; set "
            f"PYTHONPATH to the folder that holds {name}"
        )
    raise UserError(
        f"custom_imports: no module {name} in Python's path, nor in "
        f"{', '.join(map(str, folders))}; set PYTHONPATH to the folder that holds it"
    )


def _holds(folder: Path, name: str) -> bool:
    """Whether a folder holds a package, or a module that is a single file."""
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


def describe_package(name: str) -> dict[str, str]:
    """Returns where an imported package lies (``name``, ``folder``), and the ``sha256`` of its
    Python files."""
    module = sys.modules[name]
    file = Path(module.__file__) if module.__file__ else None
    if file is not None and file.name != "__init__.py":
        files, folder = [file], file.parent
    else:
        package = file.parent if file else Path(next(iter(module.__path__)))
        files, folder = list_files_below(package, ".py"), package.parent
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(read_bytes(path, MOST_TEXT))
    return dict(name=name, folder=str(folder.resolve()), sha256=digest.hexdigest())


def _compare(found: Mapping, recorded: Mapping | None) -> None:
    """Warns if a package has changed since the run was made, and refuses another one."""
    if recorded and found["sha256"] != recorded["sha256"]:
        name = found["name"]
        if found["folder"] != recorded["folder"] and _holds(Path(recorded["folder"]), name):
            raise UserError(
                f"custom_imports: {name} is loaded from {found['folder']}, and the run has another "
                f"one, in {recorded['folder']}; give each its own name, or use them in "
                "separate commands"
            )
        print_log(
            f"custom_imports: {name} in {found['folder']} has changed since the run was made",
            "current",
            logging.WARNING,
        )
