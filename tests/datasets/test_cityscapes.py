"""Cityscapes as unpacked: the right files, the right train ids, and errors that name the file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import Cityscapes
from ibnseg.support.errors import UserError
from tests.conftest import scene
from tests.datasets.conftest import warnings

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
FRAMES = {  # by conftest: frame to the seed of its scene
    "train": {
        "aachen/aachen_000000_000019": 1060,
        "aachen/aachen_000001_000019": 1061,
        "bochum/bochum_000000_000019": 1060,
        "bochum/bochum_000001_000019": 1061,
    },
    "val": {
        "frankfurt/frankfurt_000000_000019": 1090,
        "frankfurt/frankfurt_000001_000019": 1091,
        "frankfurt/frankfurt_000002_000019": 1092,
        "lindau/lindau_000000_000019": 1060,
        "lindau/lindau_000001_000019": 1061,
    },
}


def test_images_and_train_ids_are_those_of_the_files(data):
    for split in FRAMES:
        root = data / "cityscapes"
        dataset = Cityscapes(root, split, pipeline=PIPELINE)
        assert len(dataset) == len(FRAMES[split]), split
        for sample, (frame, seed) in zip(dataset, FRAMES[split].items(), strict=True):
            assert sample["img_path"] == str(
                root / "leftImg8bit" / split / f"{frame}_leftImg8bit.png"
            ), split
            assert sample["seg_map_path"] == str(
                root / f"gtFine/{split}/{frame}_gtFine_labelIds.png"
            ), split
            image, train_ids = scene(seed)
            np.testing.assert_array_equal(
                sample["img"], (255 - image)[..., ::-1], err_msg=str(split)
            )
            np.testing.assert_array_equal(sample["gt_seg_map"], train_ids, err_msg=str(split))
        assert dataset.skipped == [], split


def test_the_test_split_is_refused(data):
    with pytest.raises(UserError, match="unknown split of Cityscapes 'test'; known: train, val"):
        Cityscapes(data / "cityscapes", "test")


def test_other_files_of_the_download_are_no_labels(data, tmp_path):
    root = copy(data, tmp_path)
    for suffix in ("color.png", "polygons.json", "labelTrainIds.png"):
        (root / f"gtFine/val/lindau/lindau_000000_000019_gtFine_{suffix}").write_bytes(b"")
    assert len(Cityscapes(root, "val")) == 5


def test_same_frame_number_in_two_cities_is_two_frames(tmp_path):
    for city in ("ulm", "bonn"):
        image = tmp_path / "leftImg8bit/train" / city / "x_leftImg8bit.png"
        label = tmp_path / "gtFine/train" / city / "x_gtFine_labelIds.png"
        for path in (image, label):
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
    assert len(Cityscapes(tmp_path, "train")) == 2


def copy(data: Path, tmp_path: Path) -> Path:
    shutil.copytree(data / "cityscapes", tmp_path / "cityscapes")
    return tmp_path / "cityscapes"


@pytest.fixture
def damaged(data, tmp_path):
    """A copy of the validation split; image and label of its first frame."""
    root = copy(data, tmp_path)
    dataset = Cityscapes(root, "val", pipeline=PIPELINE)
    info = dataset.get_data_info(0)
    return dataset, Path(info["img_path"]), Path(info["seg_map_path"])


def message(dataset) -> str:
    with pytest.raises(UserError) as error:
        dataset[0]
    return str(error.value)


def test_a_truncated_image_is_named(damaged):
    dataset, image, _ = damaged
    content = image.read_bytes()
    for part in (0.0, 0.02, 0.5, 0.95):
        image.write_bytes(content[: int(part * len(content))])
        assert message(dataset).startswith(f"{image}: "), part


def test_a_truncated_label_is_named(damaged):
    dataset, _, label = damaged
    content = label.read_bytes()
    for part in (0.0, 0.1, 0.5):
        label.write_bytes(content[: int(part * len(content))])
        assert message(dataset).startswith(f"{label}: truncated or "), part


def test_an_image_or_label_that_is_a_web_page_is_named(damaged):
    dataset, *paths = damaged
    for path in reversed(paths):
        path.write_text("<html>404 Not Found</html>")
        assert message(dataset).startswith(f"{path}: truncated or not an image")


def test_an_image_that_was_removed_after_listing_is_named(damaged):
    dataset, image, _ = damaged
    image.unlink()
    assert message(dataset).startswith(f"{image}: no such file")


def test_a_label_of_another_mode_is_refused_by_its_mode(damaged):
    """Labels with 16 bits (like instanceIds), with colours, and with alpha."""
    dataset, _, label = damaged
    for pixels, mode in (
        (np.full((48, 64), 26001, np.uint16), "mode I;16"),
        (np.zeros((48, 64, 3), np.uint8), "stored as RGB"),
        (np.zeros((48, 64, 4), np.uint8), "mode RGBA"),
    ):
        Image.fromarray(pixels).save(label)
        text = message(dataset)
        assert text.startswith(f"{label}: "), mode
        assert mode in text, mode


def test_a_label_of_another_size_is_refused_with_both_sizes(damaged):
    """Smaller, or turned on its side."""
    dataset, _, label = damaged
    for height, width in ((24, 32), (64, 48)):
        Image.fromarray(np.zeros((height, width), np.uint8)).save(label)
        assert message(dataset) == f"{label}: label of {width}x{height} for an image of 64x48"


def test_ids_outside_the_table_are_named(damaged):
    dataset, _, label = damaged
    ids = np.asarray(Image.open(label)).copy()
    ids[3, 4], ids[5, 6] = 200, 34  # 34 is GTA5's
    Image.fromarray(ids).save(label)
    assert message(dataset).startswith(f"{label}: ids 34, 200 are not in the dataset's table")


# --- instances ---

TESTING = dict(pipeline=[*PIPELINE, dict(type="ibnseg.LoadInstances")], test_mode=True)


@pytest.fixture
def with_instances(data, tmp_path):
    """A copy of the data, and the instance maps of its validation split, in order."""
    root = copy(data, tmp_path)
    return root, [root / f"gtFine/val/{frame}_gtFine_instanceIds.png" for frame in FRAMES["val"]]


def test_instances_are_loaded_if_every_label_has_them(with_instances, log):
    root, paths = with_instances
    samples = list(Cityscapes(root, "val", **TESTING))
    assert [sample["instance_map_path"] for sample in samples] == list(map(str, paths))
    for sample in samples:
        is_car = sample["gt_seg_map"] == 13
        assert sample["gt_instance_map"].dtype == np.uint16
        assert set(sample["gt_instance_map"][is_car]) == {26000}
        assert sample["gt_instance_map"][~is_car].max() < 1000
    assert warnings(log) == []


def test_instances_are_not_read_in_training(with_instances):
    root, _ = with_instances
    assert "instance_map_path" not in Cityscapes(root, "val", pipeline=PIPELINE)[0]


def test_instances_of_only_some_images_are_not_read_and_one_warning_says_so(with_instances, log):
    root, paths = with_instances
    paths[1].unlink()
    paths[4].unlink()
    dataset = Cityscapes(root, "val", **TESTING)
    assert all("gt_instance_map" not in sample for sample in dataset)
    assert warnings(log) == [
        "Cityscapes val: 2 of 5 images have no instance map, the first is "
        "frankfurt/frankfurt_000001_000019; iIoU is left out"
    ]


def test_without_instances_no_warning_is_logged(with_instances, log):
    root, paths = with_instances
    for path in paths:
        path.unlink()
    dataset = Cityscapes(root, "val", **TESTING)
    assert all("gt_instance_map" not in sample for sample in dataset)
    assert warnings(log) == []


def test_instances_that_do_not_fit_are_named(with_instances):
    """Instance maps with another size, with 8 bits, or truncated."""
    root, (path, *_) = with_instances
    dataset = Cityscapes(root, "val", **TESTING)
    content = path.read_bytes()[:40]
    Image.fromarray(np.zeros((64, 48), np.uint16)).save(path)
    assert message(dataset) == f"{path}: instance map of 48x64 for an image of 64x48"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)
    assert message(dataset).startswith(f"{path}: instance map of mode L, expected 16-bit ids")
    path.write_bytes(content)
    assert message(dataset).startswith(f"{path}: truncated or damaged")
