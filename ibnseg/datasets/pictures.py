"""Images, labels and instance maps read from files, and refused if the file is damaged.

An image is what its content says, whatever its suffix. A label or instance map is one of the
formats that keep ids exactly, and PNG if it is called so. PNG has checksums, and all of them are
verified; JPEG has none, so of its damage only a missing end is seen.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_bytes

# what OpenCV would print of a damaged file, the error says
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

EXACT = ("PNG", "TIFF", "BMP")
"""The formats, by Pillow's names, that labels may have."""

CHANNELS = {"red": 2, "green": 1, "blue": 0}
"""The channels of a coloured label that may hold its ids, and their places in OpenCV's order."""

UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for a file that it cannot read."""


MOST_PIXELS = 178_956_970
"""The most pixels that an image or label may have, which is Pillow's limit
(``2 * PIL.Image.MAX_IMAGE_PIXELS``). It is read from the header, before any pixel is decoded."""

MOST_BYTES = 2**30
"""The largest file of an image or label, in bytes."""


def unreadable(path: str | Path, error: Exception) -> UserError:
    """An error for a file of which Pillow or :func:`verify` raised one of :data:`UNREADABLE`."""
    if isinstance(error, Image.DecompressionBombError):
        return UserError(
            f"{path}: has more than {MOST_PIXELS:,} pixels, the most that are read; make it "
            "smaller, or cut it"
        )
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: truncated or not an image; unpack or download it again")
    return UserError(f"{path}: truncated or damaged ({error}); unpack or download it again")


def read_image(path: str | Path) -> np.ndarray:
    """Reads an 8-bit colour image as it is stored: (H, W, 3) uint8, BGR as OpenCV has it.

    An orientation in its EXIF data turns nothing, so that the pixels are those of its label.

    Raises:
        UserError: if the file is missing, unreadable or truncated.
    """
    content = read_bytes(path, MOST_BYTES)
    image = _decode(path, content)
    if content[:4] not in _TIFF:
        return image
    orientation = orientation_of(content)  # which OpenCV follows in TIFF, whatever it is asked
    return TURNS[_BACK.get(orientation, orientation)](image)


def read_upright(path: str | Path) -> tuple[np.ndarray, bool]:
    """Reads an image as :func:`read_image` does, but turned as its EXIF orientation says.

    Returns:
        The image, and whether its pixels are turned or mirrored.

    Raises:
        UserError: as :func:`read_image`.
    """
    content = read_bytes(path, MOST_BYTES)
    image, orientation = _decode(path, content), orientation_of(content)
    return image if content[:4] in _TIFF else TURNS[orientation](image), orientation != 1


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.transpose(cv2.rotate(image, cv2.ROTATE_180)),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""What makes stored pixels upright, by EXIF's orientation (Exif 3.0, tag 274)."""

_BACK = {6: 8, 8: 6}
"""What undoes the turn of an orientation, if that is not the same turn again."""

_TIFF = (b"II*\0", b"MM\0*")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"


def orientation_of(content: bytes) -> int:
    """The orientation in an image file's EXIF data, 1 to 8; 1, upright, if there is none."""
    try:
        if content.startswith(_PNG) and b"eXIf" not in {kind for kind, *_ in _chunks(content)}:
            return 1  # Pillow would decode all pixels to see whether it follows them
        with Image.open(io.BytesIO(content)) as image:
            found = image.getexif().get(274)
    except UNREADABLE:
        return 1
    return found if found in TURNS else 1


def read_label(path: str | Path, channel: str | None = None, kind: str = "label") -> np.ndarray:
    """Reads a label file as it is stored.

    Args:
        path: the path of the label.
        channel: the one of :data:`CHANNELS` that holds the ids, if a label has several; of 8 or 16
            bits.
        kind: what errors call it.

    Returns:
        (H, W) uint8 ids (a palette's indices), or without ``channel`` perhaps (H, W, 3) uint8 RGB.

    Raises:
        UserError: if the file is missing, unreadable or damaged, is JPEG or another format that
            changes ids, or holds anything else than 8-bit ids or RGB.
    """
    content = read_bytes(path, MOST_BYTES)
    grey = _grey(path, content, 8)
    if grey is not None:
        return grey
    with _opened(path, content, kind) as image:
        bits = _rescaled_from(image)
        if channel is not None and image.mode in ("RGB", "RGBA"):
            return _channel(path, content, channel)
        if bits is not None and image.mode == "RGB":
            raise UserError(
                f"{path}: {kind} has several channels of {bits} bits, expected one channel of "
                "8-bit ids; if one of them holds the ids, the adapter has to say so with "
                f"LABEL_CHANNEL ({', '.join(CHANNELS)})"
            )
        if bits is not None:
            raise UserError(
                f"{path}: {kind} has {bits} bits a pixel, which stand for shades of grey, "
                "expected 8-bit ids (L or P)"
            )
        if image.mode not in ("L", "P", "RGB"):
            raise UserError(
                f"{path}: {kind} of mode {image.mode}, expected 8-bit ids (L or P) or RGB"
            )
        return np.asarray(image)


def read_colors(path: str | Path, kind: str = "label") -> np.ndarray:
    """Reads a label file as the colours that it shows: (H, W, 3) uint8 RGB, those of its palette if
    it has one.

    Args:
        path: the path of the label.
        kind: what errors call it.

    Raises:
        UserError: as :func:`read_label`, and if it is in grey.
    """
    with _opened(path, read_bytes(path, MOST_BYTES), kind) as image:
        bits = _rescaled_from(image)
        if bits is not None or image.mode not in ("P", "RGB"):
            of = f"of {bits} bits" if bits is not None else f"of mode {image.mode}"
            raise UserError(f"{path}: {kind} {of}, expected 8-bit colours (RGB or P)")
        return np.asarray(image.convert("RGB"))


def read_instances(path: str | Path) -> np.ndarray:
    """Reads an instance map in Cityscapes' encoding: (H, W) uint16 ids, 1000 * class id + number
    for an instance, the class id itself for all else.

    Raises:
        UserError: if the file is missing, unreadable, damaged, or not of 16 bits.
    """
    content = read_bytes(path, MOST_BYTES)
    grey = _grey(path, content, 16)
    if grey is not None:
        return grey
    with _opened(path, content, "instance map") as image:
        if image.mode != "I;16":
            raise UserError(
                f"{path}: instance map of mode {image.mode}, expected 16-bit ids (I;16)"
            )
        return np.array(image)


def verify(content: bytes) -> None:
    """Verifies that a file is whole as far as its content tells: the CRC of every chunk of a PNG,
    and the last chunk or marker of a PNG or JPEG.

    Decoding the pixels of a PNG verifies zlib's own checksum besides.

    Args:
        content: the bytes of the file; what follows the end of the image is not looked at.

    Raises:
        ValueError: saying what is damaged or missing.
    """
    if content.startswith(_PNG):
        _verify_png(content)
    if content.startswith(_JPEG) and not _has_end(content):
        raise ValueError("a JPEG without end")


def _verify_png(content: bytes) -> None:
    view = memoryview(content)
    for kind, at, end in _chunks(content):
        if zlib.crc32(view[at + 4 : end]) != _CRC.unpack_from(content, end)[0]:
            name = kind.decode("ascii", "replace")
            raise ValueError(f"the checksum of chunk {name!r} at byte {at} is wrong")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG to its last one: the kind, where it begins, and where its CRC does."""
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        if at + 8 > len(content):
            raise ValueError(f"it ends within a chunk, after {len(content)} bytes")
        length, kind = _HEAD.unpack_from(content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            raise ValueError(f"it ends within a chunk, after {len(content)} bytes")
        yield kind, at, end
        at = end + 4


_HEAD = struct.Struct(">I4s")
"""The length and the kind of a PNG's chunk."""

_CRC = struct.Struct(">I")

_HEADER = struct.Struct(">4sIIBB")
"""The first chunk of a PNG from its kind on: width, height, bits, and what its colours are."""


def _header(content: bytes) -> tuple[int, int, int, int] | None:
    """The width, height, bits and colours (0 for grey) of a PNG; None for another file."""
    if content.startswith(_PNG) and len(content) >= 12 + _HEADER.size:
        kind, *found = _HEADER.unpack_from(content, 12)
        if kind == b"IHDR":
            return tuple(found)
    return None


def _has_end(content: bytes) -> bool:
    """Whether a JPEG has its last marker, which a broken download that is filled with zeros lacks;
    True also for one whose segments make no sense, which no decoder reads."""
    at = len(_JPEG)
    while content[at : at + 1] == b"\xff":
        if content[at + 1 : at + 2] == b"\xda":  # pixels follow, and 0 after each 255 of theirs
            return content.rfind(b"\xff\xd9", at) > at
        at += 2 + _number(content[at + 2 : at + 4])
    return True


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")


def _decode(path: str | Path, content: bytes) -> np.ndarray:
    """(H, W, 3) uint8, BGR, of an image file's content, verified."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        verify(content)
        _require_few_pixels(content)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (ValueError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    except cv2.error:
        image = None  # as for most of what OpenCV cannot read
    if image is None:
        raise _of_another_kind(path, content)
    return image


def _of_another_kind(path: str | Path, content: bytes) -> UserError:
    """The error for a file that OpenCV does not make 8-bit colours of."""
    pixels = None
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return UserError(f"{path}: truncated or not an image; unpack or download it again")
    return UserError(
        f"{path}: an image whose values are {pixels.dtype}, expected 8-bit grey or colours; "
        "convert it"
    )


def _require_few_pixels(content: bytes) -> None:
    """Raises a DecompressionBombError for an image of more than :data:`MOST_PIXELS`; of a format
    that Pillow does not know, OpenCV refuses 2**30."""
    header = _header(content)
    if header is not None:
        if header[0] * header[1] > MOST_PIXELS:
            raise Image.DecompressionBombError
        return
    try:
        with Image.open(io.BytesIO(content)):
            pass
    except Image.DecompressionBombError:
        raise
    except UNREADABLE:
        pass


@contextmanager
def _opened(path: str | Path, content: bytes, kind: str) -> Iterator[Image.Image]:
    """Pillow's image of the content of a file of ids, which is verified; what is wrong with it
    becomes a UserError."""
    try:
        verify(content)
        with Image.open(io.BytesIO(content)) as image:
            own = image.format
            if own not in EXACT or (own != "PNG" and Path(path).suffix.lower() == ".png"):
                raise UserError(
                    f"{path}: {kind} is {own}, expected PNG; other formats may change ids, so "
                    "take the original"
                )
            yield image
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _rescaled_from(image: Image.Image) -> int | None:
    """The bits of each stored value if Pillow changes values into 8 bits, otherwise None."""
    (_, _, _, how), *_ = image.tile
    how = how[0] if isinstance(how, tuple) else how
    bits = isinstance(how, str) and re.search(r";(\d+)", how)
    return int(bits[1]) if bits and image.mode in ("L", "RGB") else None


def _grey(path: str | Path, content: bytes, bits: int) -> np.ndarray | None:
    """(H, W) of a PNG in grey of 8 or 16 bits, verified, by OpenCV, which needs no copy of the
    pixels as Pillow does; None for other files, and if it finds something else or cannot read
    it."""
    header = _header(content)
    if header is None or header[2:] != (bits, 0):
        return None
    try:
        verify(content)
        _require_few_pixels(content)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.ndim == 2 and pixels.itemsize == bits // 8:
            return pixels
    return None


def _channel(path: str | Path, content: bytes, channel: str) -> np.ndarray:
    """The ids in one channel of a label, (H, W) uint8."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise ValueError("OpenCV finds no channels in it")
    ids = np.ascontiguousarray(pixels[..., CHANNELS[channel]])
    if ids.max() > 255:
        raise UserError(f"{path}: the {channel} channel has the id {ids.max()}, expected 0 to 255")
    return ids.astype(np.uint8, copy=False)
