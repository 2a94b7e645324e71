"""Sizes of images and labels are compared by their headers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import Cityscapes
from ibnseg.datasets.joined import JoinedDomains
from ibnseg.datasets.sizes import require_equal_sizes, stored_size
from ibnseg.support.errors import UserError
from tests.support.refusals import refused


def save(path: Path, width: int, height: int) -> Path:
    Image.fromarray(np.zeros((height, width), np.uint8)).save(path)
    return path


@pytest.fixture
def city(data: Path, tmp_path: Path) -> Path:
    """A copy of Cityscapes, of which files may be changed."""
    return shutil.copytree(data / "cityscapes", tmp_path / "cityscapes")


def labels(root: Path, split: str) -> list[Path]:
    return sorted((root / "gtFine" / split).rglob("*_labelIds.png"))


def message(dataset) -> str:
    with pytest.raises(UserError) as error:
        require_equal_sizes(dataset)
    return str(error.value)


def test_the_size_is_that_of_the_header_whatever_follows(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.ppm"):
        path = save(tmp_path / name, 70, 30)
        assert stored_size(path) == (70, 30), name
    png, jpg = tmp_path / "a.png", tmp_path / "a.jpg"
    png.write_bytes(png.read_bytes()[:-20])
    jpg.write_bytes(jpg.read_bytes()[:-5])
    assert stored_size(png) == stored_size(jpg) == (70, 30)


def test_the_size_is_that_of_the_stored_pixels_whatever_orientation_exif_asks_for(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((30, 70, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert stored_size(tmp_path / "a.jpg") == (70, 30)


def test_what_has_no_size_is_named(tmp_path: Path) -> None:
    for name, content, wrong in (
        ("gone.png", None, "no such file"),
        ("page.png", b"<html>404</html>", "truncated or not an image"),
        ("empty.jpg", b"", "truncated or not an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "truncated or damaged"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error, refused(name):
            stored_size(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: "), name
        assert wrong in str(error.value), name


@pytest.mark.parametrize("testing", [True, False])
def test_equal_sizes_are_accepted_until_a_label_changes(city: Path, testing: bool) -> None:
    dataset = Cityscapes(city, "val", test_mode=testing)
    require_equal_sizes(dataset)
    label = labels(city, "val")[0]
    save(label, 48, 64)
    with pytest.raises(UserError, match=f"{label}: label of 48x64 for an image of 64x48"):
        require_equal_sizes(dataset)


def test_a_label_and_an_instance_map_of_another_size_are_named(city: Path) -> None:
    label, other = labels(city, "val")[1], labels(city, "val")[3]
    save(label, 48, 64)
    instances = Path(str(other).replace("labelIds", "instanceIds"))
    Image.fromarray(np.zeros((48, 63), np.uint16)).save(instances)
    testing = message(Cityscapes(city, "val", test_mode=True))
    assert testing.startswith(
        f"2 of 10 pairs cannot be used: {label}: label of 48x64 for an image of 64x48, "
        f"{instances}: instance map of 63x48 for an image of 64x48; "
    )
    training = message(Cityscapes(city, "val"))  # which reads no instances
    assert training.startswith(f"1 of 5 pairs cannot be used: {label}: label of 48x64")


def test_the_first_three_of_many_are_named_and_all_are_counted(city: Path) -> None:
    paths = labels(city, "val")
    for path in paths:
        save(path, 10, 10)
    text = message(Cityscapes(city, "val"))
    assert text.startswith("5 of 5 pairs cannot be used: ")
    assert [str(path) in text for path in paths] == [True, True, True, False, False]
    assert "(and 2 more)" in text


def test_an_unreadable_image_is_named_with_those_of_differing_size(city: Path) -> None:
    dataset = Cityscapes(city, "train")
    image = Path(dataset.get_data_info(2)["img_path"])
    image.write_bytes(b"")
    save(labels(city, "train")[0], 5, 5)
    text = message(dataset)
    assert text.startswith("2 of 4 pairs cannot be used: ")
    assert f"{image}: truncated or not an image" in text


def test_joined_domains_are_compared_and_a_subset_only_in_itself(data: Path, city: Path) -> None:
    parts = [
        dict(type="ibnseg.GTA5", data_root=str(data / "gta5"), split="train"),
        dict(type="ibnseg.Cityscapes", data_root=str(city), split="train"),
    ]
    wrong = save(labels(city, "train")[3], 64, 47)
    assert message(JoinedDomains(parts)).startswith(f"1 of 12 pairs cannot be used: {wrong}: ")
    quarter = Cityscapes(city, "train", subset="quarter")
    assert quarter.get_data_info(0)["seg_map_path"] != str(wrong)
    require_equal_sizes(quarter)


def test_what_was_compared_is_compared_again_only_if_it_has_changed(
    city: Path, monkeypatch
) -> None:
    read, size = [], stored_size
    monkeypatch.setattr(
        "ibnseg.datasets.sizes.stored_size", lambda path: read.append(path) or size(path)
    )
    for test_mode, count in ((False, 5), (False, 0), (True, 5)):  # with instance maps
        require_equal_sizes(Cityscapes(city, "val", test_mode=test_mode))
        assert len(read) == 2 * count
        read.clear()
    changed = save(labels(city, "val")[0], 5, 5)
    assert message(Cityscapes(city, "val")).startswith("1 of 5 pairs")
    assert read[1:] == [str(changed)]
