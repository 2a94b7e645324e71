"""Reading input files: each must be a regular file, and no larger than what it stands for.

A named pipe or a device is refused before it is opened, because reading it may not end. A file that
unpacks to more than it should is refused before it is unpacked.
"""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ibnseg.support.errors import UserError

if TYPE_CHECKING:  # the help of the commands needs no NumPy
    import numpy as np

MIB = 2**20

MOST_TEXT = 16 * MIB
"""The largest text that is read, in bytes, e.g. of a config or a split."""
MOST_JSON = 256 * MIB
"""The largest JSON file that is read, in bytes: results, or a ledger of a million images."""
MOST_UNPACKED = 1024 * MIB
"""The most bytes that the arrays of an npz may have: 740,000 confusion matrices of 19 classes."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    RuntimeError,  # of zipfile: encrypted; RecursionError
    NotImplementedError,  # of zipfile: another method of compression
    struct.error,
    SyntaxError,  # of numpy: a header
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, NumPy and json raise for what they cannot read."""


def regular_file(path: str | Path, most: int | None = None) -> Path:
    """Makes sure that a path is a regular file, or a link to one, and returns it.

    Args:
        path: the file; ``~`` stands for the home folder.
        most: the largest size in bytes that it may have.

    Raises:
        UserError: if it is missing, a folder, a named pipe or a device, or larger.
    """
    path = Path(path).expanduser()
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from error
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            raise UserError(f"{path}: is {kind}, expected a file")
    if most is not None and found.st_size > most:
        raise UserError(
            f"{path}: has {in_mib(found.st_size)}, expected at most {in_mib(most)}; it is not what "
            "it is called"
        )
    return path


def read_bytes(path: str | Path, most: int) -> bytes:
    """Reads a regular file of at most ``most`` bytes.

    Raises:
        UserError: as :func:`regular_file`, and if it cannot be read.
    """
    path = regular_file(path, most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from error


def read_text(path: str | Path, most: int = MOST_TEXT) -> str:
    """Reads a text in UTF-8, with or without a byte-order mark.

    Raises:
        UserError: as :func:`read_bytes`, and if it is not UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8 ({error})") from error


def read_json(path: str | Path, advice: str, most: int = MOST_JSON) -> object:
    """Reads a JSON file.

    Args:
        path: the file.
        advice: what the user can do if it is damaged, for the message.
        most: the largest size in bytes that it may have.

    Raises:
        UserError: as :func:`read_bytes`; if it is not JSON in UTF-8, is nested too deeply, or has
            NaN or an infinity, which JSON does not have.
    """
    content = read_bytes(path, most)
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be read; {advice}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {advice}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has {name}")


def read_npz(
    path: str | Path, keys: Iterable[str] | None = None, most: int = MOST_UNPACKED
) -> dict[str, np.ndarray]:
    """Reads arrays from an npz, and verifies their checksums; nothing in it is executed.

    Args:
        path: the file.
        keys: names of the arrays to read, if they are there; all by default.
        most: the most bytes that all arrays of the file may unpack to.

    Raises:
        UserError: as :func:`regular_file`.
        One of :data:`DAMAGED`: if it is damaged, unpacks to more than it may, or has anything
            before or after the archive.
    """
    path = regular_file(path)
    with zipfile.ZipFile(path) as archive:
        require_plain_archive(archive, most)
        names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = names if keys is None else [key for key in keys if key in names]
        return {key: array_in(archive.read(names[key])) for key in wanted}


def read_npy(path: str | Path, most: int = MOST_UNPACKED) -> np.ndarray:
    """Reads the array of an npy file.

    Raises:
        UserError: as :func:`read_bytes`.
        One of :data:`DAMAGED`: if it is damaged.
    """
    return array_in(read_bytes(path, most))


def array_in(content: bytes) -> np.ndarray:
    """Reads an array from the content of an npy file.

    Raises:
        ValueError: if it is not an array of numbers or texts, or its header promises another number
            of bytes than follow.
    """
    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"an array in format {version}, expected (1, 0) or (2, 0)")
    shape, _, dtype = read_header(file)
    if dtype.hasobject or any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape} and type {dtype}, expected numbers or texts")
    count = int(np.prod(shape, dtype=object))
    found = len(content) - file.tell()
    if count * dtype.itemsize != found or count > len(content):
        raise ValueError(f"an array of shape {shape} and type {dtype}, but of {found} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def require_plain_archive(archive: zipfile.ZipFile, most: int) -> None:
    """Makes sure that a zip unpacks to no more than ``most`` bytes, and is all of its file.

    Raises:
        ValueError: if its members are larger, or there is anything before or after them.
    """
    total = sum(info.file_size for info in archive.infolist())
    if total > most:
        raise ValueError(f"it unpacks to {in_mib(total)}, expected at most {in_mib(most)}")
    file = archive.fp
    at = file.tell()
    file.seek(-_END, os.SEEK_END)
    is_at_end = file.read(_END).startswith(b"PK\x05\x06")
    file.seek(at)
    if not is_at_end or archive.comment:
        raise ValueError("something follows the end of the archive")
    if archive.infolist() and min(info.header_offset for info in archive.infolist()) > 0:
        raise ValueError("something precedes the beginning of the archive")


_END = 22
"""Bytes of the record at a zip's end, if there is no comment (APPNOTE.TXT, 4.3.16)."""


def verify_checksums(archive: zipfile.ZipFile) -> None:
    """Reads all members of a zip, in blocks, and compares their CRC-32.

    Members whose recorded CRC is 0 are not compared. torch writes 0 after
    ``torch.serialization.set_crc32_options(False)``, which switches checksums off.

    Raises:
        One of :data:`DAMAGED`: naming the first member that is damaged.
    """
    for info in archive.infolist():
        if info.CRC == 0:
            continue
        with archive.open(info) as member:
            while member.read(MIB):
                pass


def in_mib(size: int) -> str:
    """A number of bytes in words, e.g. ``16 MiB``."""
    return f"{size / MIB:,.0f} MiB" if size >= MIB else f"{size:,} bytes"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
