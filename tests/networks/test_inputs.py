"""What ``ibnseg predict`` finds to predict, and what it leaves out."""

from pathlib import Path

import pytest

from ibnseg.networks.inputs import find_images
from ibnseg.support.errors import UserError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_images_and_videos_are_found_by_their_names_without_suffix(tmp_path: Path) -> None:
    names = ("a.PNG", "b.v2.jpeg", "c/d.tif", "e.MOV", "f.mpg", "._a.png", ".x/y.png", "g.gif", "h")
    found, left_out = find_images(make(tmp_path, *names, "Thumbs.db"), tmp_path / "out")
    assert list(found) == ["a", "b.v2", "c/d", "e", "f"]
    assert left_out == [tmp_path / "g.gif", tmp_path / "h"]


def test_linked_folders_are_searched_and_predictions_are_not(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "far/b.png", "in/out/labels/a.png")
    (tmp_path / "in/far").symlink_to(tmp_path / "far")
    (tmp_path / "far/in").symlink_to(tmp_path / "in")
    (tmp_path / "far/old").symlink_to(tmp_path / "in/out")
    found, left_out = find_images(tmp_path / "in", tmp_path / "in/out")
    assert found == {"a": tmp_path / "in/a.png", "far/b": tmp_path / "in/far/b.png"}
    assert left_out == []


@pytest.mark.parametrize("other", ["a.jpg", "a.PNG", "a.webp", "a.mp4"])
def test_two_inputs_of_one_name_are_refused(tmp_path: Path, other: str) -> None:
    """Their predictions would replace each other."""
    with pytest.raises(UserError, match=r"a\.\w+ and .*a\.\w+: two images are called a"):
        find_images(make(tmp_path, "a.png", other), tmp_path / "out")


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    make(tmp_path, "x.gif", "y.gif", "._z.png")
    with pytest.raises(UserError, match=r"no images or videos \(.png, .*\) in it, only 2 .gif$"):
        find_images(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"x.gif is not an image or video \(.png, "):
        find_images(tmp_path / "x.gif", tmp_path / "out")
