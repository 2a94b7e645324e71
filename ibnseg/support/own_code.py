"""Errors of the user's own code, and of other programs, as one line with its file and line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import ibnseg
from ibnseg.support.errors import UserError
from ibnseg.support.memory import TELLTALES


@contextmanager
def own_code(what: str) -> Iterator[None]:
    """Turns whatever goes wrong in code that is not of this package into one line.

    What says that memory is too little is left to :func:`ibnseg.support.memory.enough_memory`.

    Args:
        what: what the code is, for the message.

    Raises:
        UserError: with the file and line, if the error occurred in code that is not installed.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # code: anything may be wrong with it
        said = (str(error).strip() or "no reason").splitlines()[0]
        if any(words in said for words in TELLTALES):
            raise
        place = _place(error)
        where = f"{place}: " if place else ""
        raise UserError(f"{what}: {where}{type(error).__name__}: {said}") from error


def _place(error: BaseException) -> str | None:
    """File and line of the user's code in which an error occurred; None if that is not known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_installed(Path(frame.filename))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None


def _is_installed(file: Path) -> bool:
    """Whether a file is of this package, of Python, or of an installed package."""
    folders = (Path(ibnseg.__file__).parent, *map(Path, sysconfig.get_paths().values()))
    return not file.is_file() or any(file.is_relative_to(folder) for folder in folders)
