"""Finding configs and runs by their path or name, without reading them."""

from __future__ import annotations

from pathlib import Path

from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import config_folders


def config_files() -> dict[str, Path]:
    """The configs that go by name, each the first that
    :func:`~ibnseg.support.files.config_folders` have."""
    files = {}
    for folder in config_folders():
        for path in sorted(folder.glob("*.py")):
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
        raise UserError(f"{path}: no such config; these go by name: {', '.join(sorted(known))}")
    if str(config) not in known:
        raise unknown_name("config", str(config), known)
    return known[str(config)]


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
