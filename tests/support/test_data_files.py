"""Data is listed without what other programs and killed processes leave between it."""

import os
from pathlib import Path

import pytest

from ibnseg.support.data_files import (
    count_by_suffix,
    files_by_name,
    files_by_place,
    is_foreign,
    list_files,
    list_files_below,
    list_folders,
    walk_folders,
)
from ibnseg.support.errors import UserError

FOREIGN = ("._a.png", ".a-abcd1234.tmp.png", ".DS_Store", "Thumbs.db", "desktop.INI", "thumbs.DB")


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_of_systems_and_hidden_ones_are_no_data(tmp_path):
    make(tmp_path, "b.png", "a.png", *FOREIGN)
    make(tmp_path, "__MACOSX/a.png", ".ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png")
    make(tmp_path, "city/c.png", "city/__macosx/c.png", "city/$RECYCLE.BIN/c.png")
    assert list_files(tmp_path) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert list_folders(tmp_path) == [tmp_path / "city"]
    assert list_files_below(tmp_path) == [tmp_path / n for n in ("a.png", "b.png", "city/c.png")]
    assert not is_foreign("MACOSX.png")
    assert not is_foreign("a.desktop.ini.png")


def test_suffixes_count_in_upper_and_lower_case(tmp_path):
    make(tmp_path, "a_LABELIDS.PNG", "b_labelIds.png", "c.png", "labelIds.png.txt")
    names = ["a_LABELIDS.PNG", "b_labelIds.png"]
    assert [path.name for path in list_files(tmp_path, "_labelIds.png")] == names
    assert list(files_by_name(tmp_path, "_labelIds.png")) == ["a", "b"]
    assert list(files_by_name(tmp_path, ".png", "_labelIds.png")) == ["a", "b", "c"]


def test_a_missing_folder_and_a_file_hold_no_files(tmp_path):
    make(tmp_path, "a.png")
    for place in (tmp_path / "none", tmp_path / "a.png"):
        assert list_files(place) == list_folders(place) == list_files_below(place) == []


def test_two_files_of_one_name_are_an_error(tmp_path):
    make(tmp_path, "x.JPG", "x.png", "y.png")
    assert list(files_by_name(tmp_path, ".png")) == ["x", "y"]
    with pytest.raises(UserError, match=r"x.png: the same name also exists as x.JPG"):
        files_by_name(tmp_path, ".png", ".jpg")


def test_files_are_listed_by_their_places(tmp_path):
    make(
        tmp_path,
        "a_x.png",
        "b/c_x.png",
        "b/d/a_X.PNG",
        "b/d/e.png",
        "b/._f_x.png",
        "__MACOSX/g_x.png",
    )
    found = files_by_place(tmp_path, "_x.png")
    names = {"a": "a_x.png", "b/c": "b/c_x.png", "b/d/a": "b/d/a_X.PNG"}
    assert found == {key: tmp_path / name for key, name in names.items()}
    assert files_by_place(tmp_path / "none", ".png") == {}


def test_links_to_folders_are_followed_without_end_at_loops(tmp_path):
    make(tmp_path, "far/a.png", "near/b.png")
    (tmp_path / "near/far").symlink_to(tmp_path / "far")
    (tmp_path / "far/up").symlink_to(tmp_path / "near")
    (tmp_path / "near/self").symlink_to(tmp_path / "near")
    (tmp_path / "near/gone.png").symlink_to(tmp_path / "no.png")
    (tmp_path / "near/loop.png").symlink_to("loop.png")
    found = [str(path.relative_to(tmp_path)) for path in list_files_below(tmp_path / "near")]
    assert found == ["near/b.png", "near/far/a.png", "near/gone.png", "near/loop.png"]
    assert list(walk_folders(tmp_path / "near")) == [tmp_path / "near", tmp_path / "near/far"]


def test_one_folder_that_is_linked_twice_is_listed_twice(tmp_path):
    make(tmp_path, "own/a.png", "in/b.png")
    (tmp_path / "in/one").symlink_to(tmp_path / "own")
    (tmp_path / "in/two").symlink_to("../own")
    found = [str(path.relative_to(tmp_path / "in")) for path in list_files_below(tmp_path / "in")]
    assert found == ["b.png", "one/a.png", "two/a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    tmp_path.chmod(0)
    try:
        with pytest.raises(UserError, match="cannot be listed"):
            list_files(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_files_are_counted_by_suffix():
    files = map(Path, ("a.gif", "b.GIF", "notes.txt", "README"))
    assert count_by_suffix(files) == "2 .gif, 1 .txt, 1 without suffix"
