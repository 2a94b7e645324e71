"""The images of a folder with a sub-folder for each class, and their crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.analysis.imagenet.images import Crops, list_images
from ibnseg.analysis.imagenet.ranks import (
    NOT_YET,
    rank_images,
)
from ibnseg.appearance import PAPER
from ibnseg.support.errors import UserError
from tests.analysis.imagenet.helpers import COLOURS, MeanColour, write_colours
from tests.conftest import save_rgb, set_orientation


def test_classes_are_the_sorted_folders(tmp_path: Path) -> None:
    listing = list_images(write_colours(tmp_path / "val", 2))
    assert listing.classes == ["blue", "green", "red"]
    assert listing.paths == [f"{name}/{i}.png" for name in COLOURS for i in (0, 1)]
    assert listing.truth.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_styled_folder_has_the_classes_of_the_other(tmp_path: Path) -> None:
    listing = list_images(write_colours(tmp_path / "val"))
    save_rgb(tmp_path / "styled" / "red" / "x.png", np.zeros((9, 9, 3), np.uint8))
    styled = list_images(tmp_path / "styled", listing)
    assert styled.paths == ["red/x.png"]
    assert styled.truth.tolist() == [2]
    (tmp_path / "styled" / "pink").mkdir()
    with pytest.raises(UserError, match="styled: sub-folder 'pink' is not one of .*val; expected"):
        list_images(tmp_path / "styled", listing)


def test_a_folder_without_images_by_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder; expected one with a sub-folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no sub-folders; expected one for each class"):
        list_images(tmp_path)
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"no images \(.png, .jpg, .*\) in its sub-folders"):
        list_images(tmp_path)


def test_files_of_others_are_no_classes_and_no_images(tmp_path: Path) -> None:
    for name in ("red/a.JPG", "red/._a.jpg", "__MACOSX/a.jpg", ".ipynb_checkpoints/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("x.gif", "y.GIF", "Thumbs.db"):
        (tmp_path / "red" / name).touch()
    (tmp_path / "red/loop").symlink_to(tmp_path / "red")
    listing = list_images(tmp_path)
    assert (listing.classes, listing.paths, listing.left_out) == (["red"], ["red/a.JPG"], "2 .gif")


def test_crops_are_the_centre_of_the_resized_image(tmp_path: Path) -> None:
    """Of an image of twice the size, its columns numbered: 512x1024 becomes 256x512, of which the
    columns from 144 and the rows from 16 on are shown."""
    columns = np.arange(1024) // 8 * 2  # steps of 8 pixels, so that resizing leaves most of them
    picture = np.empty((512, 1024, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = columns[None], columns[:512, None], 7
    save_rgb(tmp_path / "only" / "a.png", picture)
    index, crop = Crops(list_images(tmp_path))[0]
    assert index == 0
    assert crop.dtype == np.uint8
    assert crop.shape == (224, 224, 3)
    resized = columns.reshape(512, 2)[:, 0]
    np.testing.assert_allclose(crop[100, :, 0], resized[144 : 144 + 224], atol=1)
    np.testing.assert_allclose(crop[:, 100, 1], resized[16 : 16 + 224], atol=1)
    assert (crop[..., 2] == 7).all()


def test_images_of_other_modes_are_shown_in_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK"):
        file = tmp_path / mode / "only" / f"a.{'jpg' if mode == 'CMYK' else 'png'}"
        file.parent.mkdir(parents=True)
        Image.new("RGB", (30, 20), (102, 102, 102)).convert(mode).save(file)
        _, crop = Crops(list_images(tmp_path / mode))[0]
        assert crop.shape == (224, 224, 3), mode
        assert abs(crop.astype(int) - 102).max() <= 3, mode


def test_pixels_are_shown_as_stored_whatever_their_orientation(tmp_path: Path) -> None:
    save_rgb(
        tmp_path / "only/a.png", np.random.default_rng(0).integers(0, 256, (256, 300, 3), np.uint8)
    )
    _, before = Crops(list_images(tmp_path))[0]
    set_orientation(tmp_path / "only/a.png", 8)
    np.testing.assert_array_equal(Crops(list_images(tmp_path))[0][1], before)


def test_a_flipped_bit_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "val") / "green" / "1.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 8
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"green/1.png: truncated or damaged \(the checksum of"):
        Crops(list_images(tmp_path / "val"))[4]


@pytest.mark.parametrize("left", [0, 60, 0.7])
def test_a_broken_image_is_named(tmp_path: Path, left: float) -> None:
    path = write_colours(tmp_path / "val") / "green" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    save_rgb(path, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    file = tmp_path / "ranks.npz"
    with pytest.raises(UserError, match=r"green/1.png: truncated or .*; unpack or"):
        rank_images(MeanColour(), list_images(tmp_path / "val"), PAPER, file, {}, batch=2)
    with np.load(file) as kept:  # what was done before it
        assert (kept["ranks"] != NOT_YET).all(axis=0).tolist() == [True] * 4 + [False] * 5
