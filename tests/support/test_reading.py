"""Input files: only regular ones of a fitting size are read; archives are not unpacked blindly."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ibnseg.support.errors import UserError
from ibnseg.support.reading import (
    DAMAGED,
    array_in,
    read_bytes,
    read_json,
    read_npy,
    read_npz,
    read_text,
    regular_file,
    require_plain_archive,
    verify_checksums,
)


def test_what_is_no_regular_file_is_refused_by_its_kind(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, kind in (
        ("pipe", "is a named pipe, expected a file"),
        ("zero", "is a device, expected a file"),
        (".", "is a folder, expected a file"),
        ("none", "no such file"),
        ("pipe/x", "no such file"),
        ("loop", "cannot be read"),
        ("x" * 300, "cannot be read"),
    ):
        for read in (regular_file, read_text, lambda path: read_bytes(path, 10), read_npz):
            with pytest.raises(UserError) as error:
                read(tmp_path / name)
            assert str(error.value).startswith(f"{tmp_path / name}: {kind}")


def test_a_link_and_the_home_folder_are_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert regular_file("~/a") == tmp_path / "a"
    assert read_text(tmp_path / "b") == "x"


def test_a_file_of_more_than_the_given_size_is_refused_unread(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(10))
    assert read_bytes(path, 10) == bytes(10)
    with pytest.raises(UserError, match="x: has 10 bytes, expected at most 9 bytes"):
        read_bytes(path, 9)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="x: has 1,048,576 MiB, expected at most 16 MiB"):
        read_text(path)


def test_text_is_utf_8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "x"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text("ü", encoding=encoding)
        assert read_text(path) == "ü"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not a text in UTF-8"):
        read_text(path)


def test_json_is_read_with_or_without_a_mark(tmp_path):
    path = tmp_path / "x"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text('{"a": [1, 2.5, null]}', encoding=encoding)
        assert read_json(path, "mend it") == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ('{"a": 1', "not JSON"),
        ("[" * 10**5, "nested too deeply to be read"),
        ('{"a":' * 10**5, "nested too deeply to be read"),
        ('{"a": NaN}', "not JSON (it has NaN)"),
        ("[-Infinity]", "not JSON (it has -Infinity)"),
        ("\x00", "not JSON"),
    ],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "x").write_text(content)
    with pytest.raises(UserError) as error:
        read_json(tmp_path / "x", "mend it")
    assert str(error.value).startswith(f"{tmp_path / 'x'}: {message}")
    assert str(error.value).endswith("; mend it")
    assert "\n" not in str(error.value)


# --- arrays ---


def npy(array: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def archive_of(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content)
    return path


def test_arrays_are_read_as_numpy_wrote_them(tmp_path):
    arrays = dict(
        a=np.arange(6).reshape(2, 3),
        b=np.array(["ü", "xyz"]),
        c=np.array(2.5),
        d=np.zeros((0, 3), np.uint8),
        e=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        f=np.array(7),
    )
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_npz(tmp_path / "x.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        assert read_npz(tmp_path / "x.npz", ["a", "z"]).keys() == {"a"}
    np.save(tmp_path / "x.npy", arrays["a"])
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), arrays["a"])


def test_a_header_that_promises_other_bytes_than_follow_is_refused():
    whole = npy(np.zeros(3))
    for content in (
        whole[:-1],
        whole + b"\0",
        whole.replace(b"(3,)", b"(9,)"),
        whole.replace(b"(3,), }       ", b"(10**11,), }  "),
        whole.replace(b"(3,), }            ", b"(99999999999,), }  "),
        whole.replace(b"(3,), }", b"(-3,),}"),
        npy(np.zeros(3, "U0")).replace(b"(3,), }            ", b"(99999999999,), }  "),
        npy(np.array([{}]), allow_pickle=True),
        b"\x93NUMPY\x09\x00" + whole[8:],
        b"",
    ):
        with pytest.raises(DAMAGED):
            array_in(content)


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path):
    path = archive_of(tmp_path / "x.npz", a=npy(np.zeros(10**5, np.uint8)))
    assert path.stat().st_size < 2000
    assert len(read_npz(path, most=101_000)["a"]) == 10**5
    with pytest.raises(ValueError, match="unpacks to 100,128 bytes, expected at most 100,000"):
        read_npz(path, most=100_000)


def test_what_surrounds_an_archive_is_refused(tmp_path):
    path = archive_of(tmp_path / "x.npz", a=npy(np.zeros(3)))
    whole = path.read_bytes()
    commented = whole[:-2] + b"\x04\x00more"
    for content, where in (
        (whole + b"more", "follows"),
        (commented, "follows"),
        (b"#!" + whole, "precedes"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"something {where}"):
            read_npz(path)


def test_a_flipped_bit_in_an_array_is_found(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.full(50, 7, np.uint8))
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"\7" * 50) + 20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read_npz(path)
    with zipfile.ZipFile(path) as archive, pytest.raises(zipfile.BadZipFile, match="CRC"):
        verify_checksums(archive)


def test_an_empty_archive_is_plain(tmp_path):
    archive_of(tmp_path / "x.npz")
    assert read_npz(tmp_path / "x.npz") == {}
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        require_plain_archive(archive, 0)


def test_deep_json_is_also_refused_where_python_reads_it_itself():
    with pytest.raises(DAMAGED):
        json.loads("[" * 10**5)
