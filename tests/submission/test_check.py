"""A good archive passes; each broken copy fails, for the right reason, with the member's name."""

import io
import re
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.submission import get_target
from ibnseg.submission.archive import encode
from ibnseg.submission.check import check_archive
from ibnseg.support.errors import UserError
from tests.submission.conftest import SIZE, label_map

one_target = pytest.mark.parametrize("target", ["cityscapes"], indirect=True)
"""A target for checks that are the same for all targets."""


def rewrite(archive: Path, changes: dict[str, bytes | None], more: dict | None = None) -> Path:
    """A copy with members changed, left out (None) or added."""
    copy = archive.with_name("broken.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(copy, "w") as new:
        members = {name: old.read(name) for name in old.namelist()} | changes | (more or {})
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return copy


def encoded(pixels: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format)
    return buffer.getvalue()


def ids_of(archive: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(archive) as opened:
        return np.asarray(Image.open(io.BytesIO(opened.read(name)))).copy()


def test_a_good_archive_passes_and_its_pixels_are_counted_by_id(target, archive, sizes) -> None:
    summary = check_archive(archive, target, sizes)
    assert summary.members == 3
    assert sum(summary.pixels.values()) == 3 * SIZE[0] * SIZE[1]
    expected = np.concatenate([label_map(target, seed).ravel() for seed in range(3)])
    for train_id, id_ in target.ids.items():
        assert summary.pixels.get(id_, 0) == (expected == train_id).sum()


def out_of_range(ids: np.ndarray) -> bytes:
    ids[-1, -1] = 255
    return encoded(ids)


BROKEN = {
    "missing": (lambda ids: None, "is missing; expected one file an image"),
    "narrower": (
        lambda ids: encoded(ids[:, :-1].copy()),
        "is of 63x48, expected 64x48, the size of",
    ),
    "lower": (lambda ids: encoded(ids[:-1].copy()), "is of 64x47, expected 64x48, the size of"),
    "rgb": (
        lambda ids: encoded(np.repeat(ids[..., None], 3, axis=2)),
        "has mode RGB, expected one",
    ),
    "16 bits": (lambda ids: encoded(ids.astype(np.uint16)), "has mode I;16, expected one channel"),
    "out of range": (out_of_range, "has ids 255; .* takes [07] "),
    "jpeg": (lambda ids: encoded(ids, "JPEG"), "is JPEG, expected PNG"),
    "truncated": (lambda ids: encoded(ids)[:-40], r"cannot be read \(.*\); expected a PNG"),
    "no image": (lambda ids: b"nothing", "is no image, expected PNG"),
    "empty": (lambda ids: b"", "is no image, expected PNG"),
}


def test_a_broken_member_is_named(target, archive, sizes, files) -> None:
    name = sorted(files)[1]
    ids = ids_of(archive, name)
    for kind, (change, message) in BROKEN.items():
        broken = rewrite(archive, {name: change(ids.copy())})
        try:
            said = f"taken: {check_archive(broken, target, sizes)}"
        except UserError as error:
            said = str(error)
        assert re.search(rf"broken.zip: {name}: {message}", said), kind


@one_target
def test_an_extra_member_is_named(target, archive, sizes, files) -> None:
    for extra in ("__MACOSX/._a.png", "notes.txt", f"masks/{min(files)}"):
        broken = rewrite(archive, {}, {extra: b"x"})
        with pytest.raises(UserError, match=f"broken.zip: {extra}: is of no image"):
            check_archive(broken, target, sizes)


@one_target
def test_several_broken_members_are_counted(target, archive, sizes, files) -> None:
    broken = rewrite(archive, dict.fromkeys(files, b"x"))
    with pytest.raises(
        UserError, match=rf"{min(files)}: is no image.* \(and 2 more members are wrong"
    ):
        check_archive(broken, target, sizes)


@one_target
def test_a_member_that_is_there_twice_is_named(target, archive, sizes, files) -> None:
    name = min(files)
    content = files[name].read_bytes()
    with (
        zipfile.ZipFile(archive, "a") as opened,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        opened.writestr(name, content)
    with pytest.raises(UserError, match=f"{name}: is there twice"):
        check_archive(archive, target, sizes)


@one_target
def test_a_zip_that_is_damaged_cut_or_missing_is_refused(target, archive, sizes, files) -> None:
    """A flipped bit in a member breaks its CRC; half a zip cannot be opened."""
    content, name = bytearray(archive.read_bytes()), max(files)
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(name)
    content[info.header_offset + 30 + len(name) + info.file_size - 20] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(Bad CRC"):
        check_archive(archive, target, sizes)
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"submission.zip: cannot be opened as a zip"):
        check_archive(archive, target, sizes)
    with pytest.raises(UserError, match=r"none.zip: no such file"):
        check_archive(archive.with_name("none.zip"), target, sizes)


@one_target
def test_a_member_that_zipfile_cannot_unpack_is_named(target, archive, sizes, files) -> None:
    """Encrypted, and of a compression that it does not know, as Deflate64 of large folders."""
    name = min(files)
    for offset, value, found in ((8, 1, "encrypted"), (10, 9, "compression method")):
        content = bytearray(archive.read_bytes())
        content[content.index(b"PK\x01\x02") + offset] = value  # in the first central header
        broken = archive.with_name("broken.zip")
        broken.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: cannot be read \(.*{found}.*\); expected"):
            check_archive(broken, target, sizes)


@one_target
def test_a_damaged_member_that_can_be_decoded_is_named(target, archive, sizes, files) -> None:
    """Pillow decodes some flipped bits to other ids that the target takes."""
    name, (one, other, *_) = min(files), target.ids.values()
    ids = np.full(SIZE[::-1], one, np.uint8)
    ids[20:, 10:40] = other
    whole = encoded(ids)
    places = range(whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8)
    for place, bit in product(places, range(8)):
        content = bytearray(whole)
        content[place] ^= 1 << bit
        try:
            decoded = np.asarray(Image.open(io.BytesIO(content)))
        except (OSError, SyntaxError, ValueError):
            continue
        if {*np.unique(decoded)} <= {*target.ids.values()} and (decoded != ids).any():
            break
    else:
        pytest.fail("no flipped bit is decoded to other ids")
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(.*\); expected a PNG"):
        check_archive(rewrite(archive, {name: bytes(content)}), target, sizes)


@one_target
def test_a_huge_member_is_not_decoded(target, archive, sizes, files, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=rf"{min(files)}: cannot be read \(.*exceeds limit"):
        check_archive(archive, target, sizes)


@one_target
def test_empty_folders_in_an_archive_are_no_members(target, archive, sizes) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.mkdir("empty") if hasattr(opened, "mkdir") else opened.writestr("empty/", b"")
    assert check_archive(archive, target, sizes).members == 3


@pytest.mark.parametrize(
    ("name", "other"),
    [("bdd100k-drivable", "wad2018-drivable"), ("wad2018-drivable", "bdd100k-drivable")],
)
def test_ids_of_the_other_release_are_refused(tmp_path, name, other) -> None:
    """One of three mixed in, or all of them."""
    target, wrong = get_target(name), get_target(other)
    path, members = tmp_path / "a.zip", [f"{i}.png" for i in range(3)]
    for count in (1, 3):
        with zipfile.ZipFile(path, "w") as opened:
            for i, member in enumerate(members):
                ids = encode(label_map(target, i), wrong if i < count else target)
                opened.writestr(member, ids)
        with pytest.raises(UserError, match=rf"a.zip: 0.png: has the ids of .* in {count} of"):
            check_archive(path, target, dict.fromkeys(members, SIZE))


def test_train_ids_in_an_archive_for_cityscapes_are_refused(tmp_path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a.png", encoded(np.zeros(SIZE[::-1], np.uint8)))
    with pytest.raises(UserError, match=r"a.png: has ids 0; Cityscapes takes 7 road"):
        check_archive(path, get_target("cityscapes"), {"a.png": SIZE})


def test_a_palette_is_taken_where_the_official_tool_takes_it(target, archive, sizes, files) -> None:
    name = min(files)
    image, buffer = Image.fromarray(ids_of(archive, name)), io.BytesIO()
    image.putpalette(bytes(range(256)) * 3)
    image.save(buffer, format="PNG")
    copy = rewrite(archive, {name: buffer.getvalue()})
    if target.name == "wad2018-drivable":
        with pytest.raises(UserError, match=f"{name}: has mode P"):
            check_archive(copy, target, sizes)
    else:
        assert check_archive(copy, target, sizes) == check_archive(archive, target, sizes)


def test_a_member_that_unpacks_to_more_than_its_image_deserves_is_refused(target, archive, sizes):
    member = min(sizes)
    with zipfile.ZipFile(archive) as opened:
        others = {name: opened.read(name) for name in sizes if name != member}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in others.items():
            opened.writestr(name, content)
        opened.writestr(member, bytes(10**7))
    assert archive.stat().st_size < 10**6
    with pytest.raises(UserError, match=rf"{member}: unpacks to 10 MiB, expected at most"):
        check_archive(archive, target, sizes)


def test_an_archive_with_something_behind_it_or_in_front_is_refused(target, archive, sizes):
    whole = archive.read_bytes()
    for content, where in ((whole + b"\0", "follows"), (b"\0" + whole, "precedes")):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=f"submission.zip: something {where}"):
            check_archive(archive, target, sizes)
