"""Files that are written whole or not at all, folders in which one process works at a time, and
where configs and the cache are."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from secrets import token_hex

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

import ibnseg
from ibnseg.support.errors import UserError
from ibnseg.support.reading import regular_file


def config_folder() -> Path:
    """The folder of the configs that come with the installed package, or with the checkout if the
    package is used from there."""
    package = Path(ibnseg.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_folders() -> list[Path]:
    """The folders in which configs, suites and domains go by name, in this order: ``./configs``,
    each folder of ``$IBNSEG_CONFIGS``, the package's."""
    own = [as_path(name) for name in os.environ.get("IBNSEG_CONFIGS", "").split(os.pathsep) if name]
    return [Path("configs"), *own, config_folder()]


def as_path(path: str | Path) -> Path:
    """Makes a path of one that a user gave, in which ``~`` is the home folder.

    Every function that takes paths of users makes them so.
    """
    return Path(path).expanduser()


def stays_inside(name: str) -> bool:
    """Whether a name, or a relative path, can only be of a file below the folder that it is put
    in: it has no ``..``, root, drive or NUL, and no part that is too long for file systems."""
    path = PureWindowsPath(name)  # which knows the separators and drives of all systems
    parts = [part.encode("utf-8", "replace") for part in path.parts]
    return (
        bool(parts)
        and not path.anchor
        and b".." not in parts
        and "\0" not in name
        and all(len(part) <= LONGEST_NAME for part in parts)
        and len(name) <= 4 * LONGEST_NAME
    )


LONGEST_NAME = 150
"""The most bytes in a name that files are called by, which leaves room for what is added to it."""


def is_file_name(name: str) -> bool:
    """Whether a name :func:`stays_inside` a folder, and directly in it."""
    return stays_inside(name) and len(PureWindowsPath(name).parts) == 1


def cache_folder() -> Path:
    """The folder for files that can be made again, on Linux ``ibnseg`` in ``$XDG_CACHE_HOME`` or
    ``~/.cache``."""
    return user_cache_path("ibnseg", appauthor=False)


def sha256(path: str | Path) -> str:
    """A file's SHA-256, as hexadecimal digits.

    Raises:
        UserError: if it cannot be read.
    """
    digest, path = hashlib.sha256(), regular_file(path)
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def require_writable(folder: Path) -> None:
    """Makes a folder if it is missing, and tries to write to it.

    Raises:
        UserError: if it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror})") from error


LOCK = ".lock"
"""The file that a process locks in a folder of its own."""


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Lets one process at a time work in a folder; the lock ends with the process, however that
    ends. Temporary files that a killed process left behind are removed.

    Args:
        folder: is made if it is missing, and has a file ``.lock`` from now on.
        what: what another process would be doing, for the error, e.g. ``is being trained``.

    Raises:
        UserError: if another process works there, or the folder cannot be written to.
    """
    require_writable(folder)
    try:
        lock = FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise UserError(
            f"{folder}: {what} by another process; wait for its end, or stop it"
        ) from error
    with lock:
        _remove_leftovers(folder)
        yield


PATIENCE = 600.0
"""The seconds that a process waits for its turn at a file."""


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Lets one process at a time read, change and write a file; the others wait for their turn.

    The lock ends with the process, however that ends. What killed processes left of the file is
    removed.

    Args:
        path: the file, which need not exist. ``.<name>.lock`` beside it is locked.

    Raises:
        UserError: if the folder cannot be written to, or another process keeps the file for longer
            than :data:`PATIENCE`.
    """
    require_writable(path.parent)
    try:
        lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE).acquire()
    except Timeout as error:
        raise UserError(
            f"{path}: has been locked by another process for {PATIENCE:.0f} s; stop that process"
        ) from error
    with lock:
        remove_leftovers_of(path)
        yield


def remove_leftovers_of(path: Path) -> None:
    """Removes what killed processes left of a file that no other process is writing."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}-*.tmp{glob.escape(path.suffix)}"):
        if _TEMPORARY.fullmatch(left.name):
            left.unlink(missing_ok=True)


def is_locked(folder: Path) -> bool:
    """Whether a process is :func:`alone_in` a folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


_TEMPORARY = re.compile(r"\..*-[a-z0-9_]{8}\.tmp(\..*)?")
"""The names that :func:`written_whole` gives temporary files."""


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files below a folder, except from folders with a lock of their own."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(place, name, LOCK).exists()]
        for name in files:
            if _TEMPORARY.fullmatch(name):
                Path(place, name).unlink(missing_ok=True)


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``, which becomes ``path`` at the end of the block.

    The folder is made if it is missing. Whoever reads ``path`` sees the old file or the new one,
    never a part, even if the machine stops. On an exception the temporary file is removed and
    ``path`` is untouched.

    Raises:
        UserError: if the file cannot be written: no permission, disk full.
    """
    path = Path(path)
    temporary = None
    try:
        _make_folder(path.parent)
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
        sync_folder(path.parent)
    except OSError as error:
        own = (temporary, path, *path.parents)
        if error.filename is not None and Path(error.filename) not in own:
            raise  # it is about another file that the block uses
        reason = error.strerror or (NO_SPACE if _is_full(path.parent) else error)
        raise UserError(f"{path}: cannot be written ({reason})") from error
    except RuntimeError as error:  # torch says so of a disk that is full
        if not _is_full(path.parent):
            raise
        raise UserError(f"{path}: cannot be written ({NO_SPACE})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder beside ``folder``, which becomes ``folder`` at the end of the block;
    one that was there is then replaced with all that it has.

    On an exception the temporary folder is removed and ``folder`` is untouched. What killed
    processes left of it is removed first.

    Raises:
        UserError: if it cannot be written: no permission, disk full.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}-{token_hex(4)}.tmp")
    old = temporary.with_suffix(".old")
    try:
        _make_folder(folder.parent)
        for left in folder.parent.glob(f".{glob.escape(folder.name)}-????????.*"):
            if left.suffix in (".tmp", ".old") and not is_locked(left):
                shutil.rmtree(left)
        temporary.mkdir()
        with alone_in(temporary, "is being written"):
            yield temporary
            (temporary / LOCK).unlink()
            for file in temporary.rglob("*"):
                _finish(file)
            _exchange(folder, temporary, old)
            sync_folder(folder.parent)
    except OSError as error:
        about = Path(error.filename or temporary)
        if not about.is_relative_to(temporary) and about not in (folder, *folder.parents):
            raise  # it is about another file that the block uses
        reason = error.strerror or (NO_SPACE if _is_full(folder.parent) else error)
        raise UserError(f"{folder}: cannot be written ({reason})") from error
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _exchange(folder: Path, new: Path, old: Path) -> None:
    """Puts ``new`` in the place of a folder, which becomes ``old`` if it is there."""
    there = folder.exists()
    if there:
        folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        if there:
            old.replace(folder)
        raise


def _finish(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a loss of power; links are left as they are.

    A file gets the permissions that the system gives new ones, which not all libraries do.
    """
    if path.is_symlink():
        return
    if path.is_dir():
        sync_folder(path)
        return
    path.chmod(0o666 & ~_umask())
    with path.open("rb+") as file:
        os.fsync(file.fileno())


NO_SPACE = os.strerror(errno.ENOSPC)


def _is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for a page more; libraries may say only that they
    failed."""
    try:
        return shutil.disk_usage(folder).free < 4096
    except OSError:
        return False


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that they survive a loss of power."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power, if the system can do that: Windows
    cannot open a folder, and some network file systems do not sync one."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
