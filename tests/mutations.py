"""Damage to files, drawn from a seeded generator: flipped bits, lost and added bytes, wrong values
in JSON, PNG and zip files that are whole but lie, exchanged files, links, other people's files."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"

Damage = Callable[[Path, Random, Sequence[Path]], None]
"""Changes a file in place; the third argument holds other files that it may be exchanged with."""


@dataclass(frozen=True)
class Mutation:
    """A way in which a file may come to harm."""

    name: str
    damage: Damage
    suffixes: tuple[str, ...] = ()
    """The suffixes of the files that it is for; all if empty."""
    is_harmless: bool = False
    """Whether the outcome must be that of the undamaged file, so that a refusal is wrong, too."""
    makes_another: bool = False
    """Whether it may make a whole, other file with right checksums, whose outcome is another."""

    def applies_to(self, path: Path) -> bool:
        return not self.suffixes or path.suffix in self.suffixes


def _of_bytes(change: Callable[[bytes, Random], bytes]) -> Damage:
    def damage(path: Path, rng: Random, others: Sequence[Path]) -> None:
        content = path.read_bytes()
        path.write_bytes(change(content, rng))

    return damage


# --- any file ---


def _flip(content: bytes, rng: Random, count: int = 1) -> bytes:
    flipped = bytearray(content)
    for _ in range(count if content else 0):
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _flip_several(content: bytes, rng: Random) -> bytes:
    return _flip(content, rng, rng.randint(2, 20))


def _cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content) or 1)]


def _lose(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content) or 1)
    return content[:at] + content[at + rng.randint(1, 64) :]


def _insert(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content) or 1)
    return content[:at] + rng.randbytes(rng.randint(1, 64)) + content[at:]


def _zero_a_block(content: bytes, rng: Random) -> bytes:
    size = min(len(content), 512)
    at = rng.randrange(len(content) - size + 1)
    return content[:at] + bytes(size) + content[at + size :]


def _exchange(path: Path, rng: Random, others: Sequence[Path]) -> None:
    other = rng.choice([each for each in others if each.suffix != path.suffix])
    shutil.copyfile(other, path)


def _exchange_a_block(path: Path, rng: Random, others: Sequence[Path]) -> None:
    content, other = path.read_bytes(), rng.choice(others).read_bytes()
    at = rng.randrange(len(content) or 1)
    path.write_bytes(content[:at] + other[at : at + 256] + content[at + 256 :])


def _replaced(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path, rng: Random, others: Sequence[Path]) -> None:
        path.unlink()
        make(path)

    return damage


def _do_nothing(path: Path) -> None:
    pass


# --- JSON ---

_STRANGE = (
    None, True, -1, 0, 10**30, -(2**63), 1e308, float("nan"), float("inf"), "", "x", "nan", "1",
    "../../x", "\x1b[31mred", "=1+1", "a\nb", "\ud800", [], [[]], [None], {}, {"a": 1}, [1e9, 1e9],
)  # fmt: skip


def _places(value: object) -> Iterator[tuple[object, object]]:
    """Every container below a JSON value with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _of_json(change: Callable[[object, object, Random], None]) -> Damage:
    def damage(path: Path, rng: Random, others: Sequence[Path]) -> None:
        content = json.loads(path.read_bytes())
        places = list(_places(content))
        if rng.random() < 0.7:  # most values are deep in matrices
            places = [place for place in places if isinstance(place[1], str)] or places
        change(*rng.choice(places), rng)
        path.write_text(json.dumps(content))

    return damage


def _strange_value(container, key, rng: Random) -> None:
    container[key] = rng.choice(_STRANGE)


def _lose_a_value(container, key, rng: Random) -> None:
    del container[key]


def _double_a_value(container, key, rng: Random) -> None:
    if isinstance(container, list):
        container.insert(key, container[key])
    else:
        container[f"{key}2"] = container[key]


def _nest(content: bytes, rng: Random) -> bytes:
    deep = rng.choice((2_000, 200_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    nested = opening * deep + b"1" + closing * deep
    return rng.choice((nested, content.rstrip().removesuffix(b"}") + b',"deep":' + nested + b"}"))


def _in_utf_16(content: bytes, rng: Random) -> bytes:
    return content.decode().encode("utf-16")


# --- PNG: whole files with right checksums ---


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The kind and the data of each chunk of a PNG file."""
    at, chunks = len(PNG), []
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_of(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of chunks, with their checksums."""
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _of_png(change: Callable[[list, Random], list]) -> Damage:
    return _of_bytes(lambda content, rng: png_of(change(png_chunks(content), rng)))


def _another_size(chunks: list, rng: Random) -> list:
    header = chunks[0][1]
    size = rng.choice(((1, 1), (65, 48), (20_000, 20_000), (60_000, 60_000), (2**31 - 1, 1)))
    return [(b"IHDR", struct.pack(">II", *size) + header[8:]), *chunks[1:]]


def _another_depth(chunks: list, rng: Random) -> list:
    header = bytearray(chunks[0][1])
    header[8:10] = rng.choice(((1, 0), (4, 3), (16, 0), (16, 2), (8, 6), (8, 4), (3, 1)))
    return [(b"IHDR", bytes(header)), *chunks[1:]]


def _lose_a_chunk(chunks: list, rng: Random) -> list:
    at = rng.randrange(len(chunks))
    return chunks[:at] + chunks[at + 1 :]


def _long_text(chunks: list, rng: Random) -> list:
    """A compressed text that unpacks to 200 MB."""
    text = zlib.compressobj(1)
    packed = b"".join(text.compress(bytes(2**20)) for _ in range(200)) + text.flush()
    return [chunks[0], (b"zTXt", b"a\0\0" + packed), *chunks[1:]]


def _as_jpeg(path: Path, rng: Random, others: Sequence[Path]) -> None:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue())


# --- zip: whole archives with right checksums ---


def _rewrite(path: Path, change: Callable[[list[tuple[str, bytes]]], object]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    members = change(members) or members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def _lose_a_member(path: Path, rng: Random, others: Sequence[Path]) -> None:
    _rewrite(path, lambda members: members.pop(rng.randrange(len(members))) and None)


def _exchange_members(path: Path, rng: Random, others: Sequence[Path]) -> None:
    def change(members: list) -> None:
        i, j = rng.sample(range(len(members)), 2)
        (a, x), (b, y) = members[i], members[j]
        members[i], members[j] = (a, y), (b, x)

    _rewrite(path, change)


def _further_member(path: Path, rng: Random, others: Sequence[Path]) -> None:
    name = rng.choice(("x", "../x.png", "/x.png", "__MACOSX/._x.png", "a\nb.png"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")


def _member_of_zeros(path: Path, rng: Random, others: Sequence[Path]) -> None:
    """A member becomes 300 MB of zeros, packed."""

    with zipfile.ZipFile(path) as archive:
        name = rng.choice(archive.namelist())
    _rewrite(path, lambda members: [each for each in members if each[0] != name])
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))


def _strange_array(path: Path, rng: Random, others: Sequence[Path]) -> None:
    """An array of an npz with another dtype or shape, in its header or in truth."""

    def change(members: list) -> None:
        i = rng.randrange(len(members))
        buffer = io.BytesIO()
        with np.errstate(all="ignore"):
            array = np.lib.format.read_array(io.BytesIO(members[i][1]), allow_pickle=False)
            kind = rng.randrange(5)
            if kind == 0:
                np.save(buffer, array[:-1] if array.ndim else array[None])
            elif kind == 1:
                np.save(buffer, array.astype("U3"))
            elif kind == 2:
                np.save(buffer, np.full(array.shape, np.nan))
            elif kind == 3:
                np.save(buffer, np.array([open, print], object), allow_pickle=True)
            else:
                np.lib.format.write_array_header_1_0(
                    buffer, dict(descr="<f8", fortran_order=False, shape=(10**11,))
                )
        members[i] = (members[i][0], buffer.getvalue())

    _rewrite(path, change)


def _strange_weights(path: Path, rng: Random, others: Sequence[Path]) -> None:
    """A checkpoint in which one tensor is not what it was, or more than tensors are in it."""
    content = torch.load(path, weights_only=True)
    weights = content["state_dict"]
    names = [name for name, value in weights.items() if value.is_floating_point()]
    name = rng.choice(names)
    value = weights[name].clone()
    kind = rng.randrange(9)
    if kind < 2:
        value.view(-1)[rng.randrange(value.numel())] = (float("nan"), float("inf"))[kind]
    elif kind == 2:
        value = value.to(torch.complex64)
    elif kind == 3:
        value = value.to(torch.int64)
    elif kind == 4:
        value = value.to("meta")
    elif kind == 5:
        value = value[..., None]
    elif kind == 6:
        value = value.tolist()
    weights[name] = value
    if kind == 7:
        del weights[name]
    if kind == 8:
        content["hook"] = _Touch(path.with_name("code_has_run"))
    torch.save(content, path)


class _Touch:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


# --- other people's files beside the data ---


def _beside(name: Callable[[Path], str], content: bytes | None = b"\0\5\26\7\0\2\0\0") -> Damage:
    def damage(path: Path, rng: Random, others: Sequence[Path]) -> None:
        new = path.parent / name(path)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes() if content is None else content)

    return damage


_DATA = (".png", ".jpg")
_ZIPS = (".npz", ".pth", ".zip")

MUTATIONS = (
    Mutation("one bit flipped", _of_bytes(_flip)),
    Mutation("several bits flipped", _of_bytes(_flip_several)),
    Mutation("cut off", _of_bytes(_cut)),
    Mutation("empty", _of_bytes(lambda content, rng: b"")),
    Mutation("bytes lost", _of_bytes(_lose)),
    Mutation("bytes added", _of_bytes(_insert)),
    Mutation("bytes added at the end", _of_bytes(lambda content, rng: content + rng.randbytes(99))),
    Mutation("a block of zeros", _of_bytes(_zero_a_block)),
    Mutation("another file's content", _exchange),
    Mutation("another file's block", _exchange_a_block),
    Mutation("missing", _replaced(_do_nothing)),
    Mutation("a folder", _replaced(Path.mkdir)),
    Mutation("a link to nothing", _replaced(lambda path: path.symlink_to("nothing"))),
    Mutation("a link to itself", _replaced(lambda path: path.symlink_to(path.name))),
    Mutation("a pipe", _replaced(os.mkfifo)),
    Mutation("a device", _replaced(lambda path: path.symlink_to("/dev/zero"))),
    Mutation("a strange value in JSON", _of_json(_strange_value), (".json",)),
    Mutation("a value lost from JSON", _of_json(_lose_a_value), (".json",)),
    Mutation("a value twice in JSON", _of_json(_double_a_value), (".json",)),
    Mutation("deep JSON", _of_bytes(_nest), (".json",)),
    Mutation("JSON in UTF-16", _of_bytes(_in_utf_16), (".json",)),
    Mutation("another size in a PNG's header", _of_png(_another_size), (".png",)),
    Mutation("another depth in a PNG's header", _of_png(_another_depth), (".png",)),
    Mutation("a chunk lost from a PNG", _of_png(_lose_a_chunk), (".png",)),
    Mutation("200 MB of text in a PNG", _of_png(_long_text), (".png",)),
    Mutation("a JPEG called PNG", _as_jpeg, (".png",)),
    Mutation("a member lost from an archive", _lose_a_member, _ZIPS),
    Mutation("members exchanged in an archive", _exchange_members, _ZIPS, makes_another=True),
    Mutation("a further member of an archive", _further_member, _ZIPS),
    Mutation("300 MB of zeros in an archive", _member_of_zeros, _ZIPS),
    Mutation("a strange array", _strange_array, (".npz",)),
    Mutation("strange weights", _strange_weights, (".pth",)),
    Mutation("a macOS companion", _beside(lambda path: f"._{path.name}"), _DATA, True),
    Mutation(
        "a killed process's temporary file",
        _beside(lambda path: f".{path.stem}-abcdefgh.tmp{path.suffix}", None),
        _DATA,
        True,
    ),
    Mutation(
        "a notebook's checkpoint",
        _beside(lambda path: f".ipynb_checkpoints/{path.stem}-checkpoint{path.suffix}", None),
        _DATA,
        True,
    ),
    Mutation("Thumbs.db", _beside(lambda path: "Thumbs.db"), _DATA, True),
    Mutation(
        "a byte-order mark",
        _of_bytes(lambda content, rng: b"\xef\xbb\xbf" + content),
        (".json",),
        True,
    ),
)


def has_broken_checksum(path: Path) -> bool:
    """Whether a file is of a format with checksums, PNG or zip, and they do not hold; or is there,
    but neither a file nor a folder."""
    if path.is_dir() or not os.path.lexists(path):
        return False
    if not path.is_file() or path.stat().st_size > 2**26:
        return True
    content = path.read_bytes()
    if path.suffix in _ZIPS:
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is not None
        except Exception:
            return True
    if path.suffix == ".png" and content.startswith(PNG):
        whole = png_of(png_chunks(content))
        return not content.startswith(whole) or b"IEND" not in whole[-8:]
    return False
