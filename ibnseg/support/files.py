"""Files: written whole or not at all, and the configs that come with the package."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ibnseg
from ibnseg.support.errors import UserError


def config_folder() -> Path:
    """The folder of the configs that come with the package, or with the checkout that is run in
    place."""
    package = Path(ibnseg.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_folders() -> list[Path]:
    """The folders in which configs, suites and domains go by name, in this order: ``./configs``,
    each folder of ``$IBNSEG_CONFIGS``, the package's."""
    own = [
        Path(name).expanduser()
        for name in os.environ.get("IBNSEG_CONFIGS", "").split(os.pathsep)
        if name
    ]
    return [Path("configs"), *own, config_folder()]


def cache_folder() -> Path:
    """The folder of what can be made again, ``ibnseg`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ibnseg"


def sha256(path: str | Path) -> str:
    """A file's SHA-256, as hexadecimal digits.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def require_writable(folder: Path) -> None:
    """Makes a folder if need be and tries to write to it.

    Raises:
        UserError: if it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror})") from error


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Lets one process at a time in; the others are refused. It ends with the process, however
    that does.

    Args:
        folder: has a file ``.lock`` from now on.
        what: happens there, for the error.

    Raises:
        UserError: if another process is there.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: {what} by another process; wait for its end, or stop it"
            ) from error
        yield


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; on leaving without an exception it becomes ``path``.

    The folder is made if need be. Whoever reads ``path`` sees the old file or the new one, never a
    part, even if the machine stops. On an exception the temporary file is removed and ``path`` is
    untouched.

    Raises:
        UserError: if the file cannot be written: no permission, disk full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}"
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        own = (temporary, path, *path.parents)
        if error.filename is not None and Path(error.filename) not in own:
            raise  # of another file, from within the block
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
