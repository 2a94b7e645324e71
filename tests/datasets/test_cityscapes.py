"""Cityscapes as unpacked: the right files, the right train ids, and errors that name the file."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from ibnseg.datasets import Cityscapes
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.conftest import scene

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


@pytest.mark.parametrize("split", FRAMES)
def test_pairs_pixels_and_train_ids(data, split):
    root = data / "cityscapes"
    dataset = Cityscapes(root, split, pipeline=PIPELINE)
    assert len(dataset) == len(FRAMES[split])
    for sample, (frame, seed) in zip(dataset, FRAMES[split].items(), strict=True):
        assert sample["img_path"] == str(root / "leftImg8bit" / split / f"{frame}_leftImg8bit.png")
        assert sample["seg_map_path"] == str(root / f"gtFine/{split}/{frame}_gtFine_labelIds.png")
        image, train_ids = scene(seed)
        np.testing.assert_array_equal(sample["img"], (255 - image)[..., ::-1])
        np.testing.assert_array_equal(sample["gt_seg_map"], train_ids)
    assert dataset.skipped == []


def test_it_is_found_by_its_scoped_name(data):
    built = DATASETS.build(
        dict(type="ibnseg.Cityscapes", data_root=str(data / "cityscapes"), split="val")
    )
    assert len(built) == 5


def test_test_split_is_refused(data):
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


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.95])
def test_truncated_image(damaged, part):
    dataset, image, _ = damaged
    content = image.read_bytes()
    image.write_bytes(content[: int(part * len(content))])
    assert message(dataset).startswith(f"{image}: ")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5])
def test_truncated_label(damaged, part):
    dataset, _, label = damaged
    content = label.read_bytes()
    label.write_bytes(content[: int(part * len(content))])
    assert message(dataset).startswith(f"{label}: truncated or not an image")


def test_image_that_is_none(damaged):
    dataset, image, _ = damaged
    image.write_text("<html>404 Not Found</html>")
    assert message(dataset).startswith(f"{image}: truncated or not an image")


def test_label_that_is_no_image(damaged):
    dataset, _, label = damaged
    label.write_text("<html>404 Not Found</html>")
    assert message(dataset).startswith(f"{label}: truncated or not an image")


def test_image_removed_after_listing(damaged):
    dataset, image, _ = damaged
    image.unlink()
    assert message(dataset).startswith(f"{image}: no such file")


def test_label_of_16_bits(damaged):
    dataset, _, label = damaged
    Image.fromarray(np.full((48, 64), 26001, np.uint16)).save(label)  # as instanceIds are
    assert message(dataset) == f"{label}: label of mode I;16, expected 8-bit ids (L or P) or RGB"


def test_label_in_colours(damaged):
    dataset, _, label = damaged
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(label)
    text = message(dataset)
    assert text == f"{label}: label is stored as RGB, expected one channel of 8-bit ids"


def test_label_with_alpha(damaged):
    dataset, _, label = damaged
    Image.fromarray(np.zeros((48, 64, 4), np.uint8)).save(label)
    assert message(dataset).startswith(f"{label}: label of mode RGBA, expected 8-bit ids")


def test_ids_outside_the_table_are_named(damaged):
    dataset, _, label = damaged
    ids = np.asarray(Image.open(label)).copy()
    ids[3, 4], ids[5, 6] = 200, 34  # 34 is GTA5's
    Image.fromarray(ids).save(label)
    assert message(dataset).startswith(f"{label}: ids 34, 200 are not in the dataset's table")


def test_label_of_train_ids_is_not_taken_for_one_of_ids(damaged):
    dataset, _, label = damaged
    Image.fromarray(scene(1)[1]).save(label)
    text = message(dataset)
    assert text.startswith(f"{label}: ids 255 are not in")
    assert "already of train ids?" in text


def test_label_of_another_size(damaged):
    dataset, _, label = damaged
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(label)
    assert message(dataset) == f"{label}: label of 32x24 for an image of 64x48"


def test_label_turned_on_its_side(damaged):
    dataset, _, label = damaged
    Image.fromarray(np.zeros((64, 48), np.uint8)).save(label)
    assert message(dataset) == f"{label}: label of 48x64 for an image of 64x48"


# --- instances ---

TESTING = dict(pipeline=[*PIPELINE, dict(type="ibnseg.LoadInstances")], test_mode=True)


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def with_instances(data, tmp_path):
    """A copy of the data, and the maps of instances of its validation split, in order."""
    root = copy(data, tmp_path)
    return root, [root / f"gtFine/val/{frame}_gtFine_instanceIds.png" for frame in FRAMES["val"]]


def warnings(log) -> list[str]:
    return [r.getMessage() for r in log.records if r.levelno == logging.WARNING]


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


def test_instances_of_another_size(with_instances):
    root, paths = with_instances
    Image.fromarray(np.zeros((64, 48), np.uint16)).save(paths[0])
    text = message(Cityscapes(root, "val", **TESTING))
    assert text == f"{paths[0]}: map of instances of 48x64 for an image of 64x48"


def test_instances_of_8_bits(with_instances):
    root, paths = with_instances
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(paths[0])
    text = message(Cityscapes(root, "val", **TESTING))
    assert text == f"{paths[0]}: map of instances of mode L, expected 16-bit ids (I;16)"


def test_truncated_instances(with_instances):
    root, paths = with_instances
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    text = message(Cityscapes(root, "val", **TESTING))
    assert text.startswith(f"{paths[0]}: truncated or not an image")
