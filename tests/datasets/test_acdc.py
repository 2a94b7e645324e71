"""ACDC: four conditions, reference days, and what is not a label."""

import shutil

import numpy as np
import pytest

from ibnseg.datasets import ACDC
from ibnseg.datasets.domain import Domains
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.conftest import warnings
from tests.datasets.miniatures import PIPELINE, only, require_scenes, write_acdc


@pytest.mark.parametrize("split", ["train", "val", "train_ref", "val_ref"])
def test_each_split_has_its_images_and_labels(tmp_path, split):
    seeds = write_acdc(tmp_path)
    require_scenes(ACDC(tmp_path, split, pipeline=PIPELINE), tmp_path, only(seeds, f"/{split}/"))


@pytest.mark.parametrize("condition", ["fog", "night", "rain", "snow"])
def test_each_condition_and_its_reference_is_a_domain(tmp_path, condition):
    seeds = write_acdc(tmp_path)
    for name, split in ((f"acdc_{condition}", "val"), (f"acdc_{condition}_ref", "val_ref")):
        domain = Domains()[name]
        assert domain.test_split == split
        assert domain.data_root == "acdc"
        config = domain.dataset_config(str(tmp_path), split, PIPELINE)
        expected = only(seeds, f"rgb_anon/{condition}/{split}/")
        require_scenes(DATASETS.build(config), tmp_path, expected)


def test_ids_are_those_of_cityscapes(tmp_path):
    write_acdc(tmp_path)
    place = "fog/val/GOPR0475/GOPR0475_frame_000041_gt_labelIds.png"
    ids = np.zeros((48, 64), np.uint8)
    ids[0, :19] = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    save_ids(tmp_path / "gt" / place, ids)
    label = ACDC(tmp_path, "val", pipeline=PIPELINE)[0]["gt_seg_map"]
    assert label[0, :20].tolist() == [*range(19), 255]
    ids[5, 5] = 40
    save_ids(tmp_path / "gt" / place, ids)
    with pytest.raises(UserError, match="000041_gt_labelIds.png: ids 40 are not in the dataset"):
        ACDC(tmp_path, "val", pipeline=PIPELINE)[0]


def test_a_condition_that_was_not_unpacked_is_named(tmp_path):
    write_acdc(tmp_path)
    shutil.rmtree(tmp_path / "gt/rain")
    with pytest.raises(UserError, match="ACDC: no labels of rain in split 'val' in .* layout rgb"):
        ACDC(tmp_path, "val")
    assert len(ACDC(tmp_path, "val", conditions=("fog", "snow"))) == 4


def test_a_missing_label_is_an_error_except_on_reference_days(tmp_path):
    write_acdc(tmp_path)
    (tmp_path / "gt/fog/val/GOPR0475/GOPR0475_frame_000077_gt_labelIds.png").unlink()
    with pytest.raises(UserError, match="000077_rgb_anon.png: image without label"):
        ACDC(tmp_path, "val")
    (tmp_path / "rgb_anon/fog/val_ref/GOPR0475/GOPR0475_frame_000077_rgb_ref_anon.png").unlink()
    with pytest.raises(UserError, match="000077_gt_ref_labelIds.png: label without image"):
        ACDC(tmp_path, "val_ref")
    shutil.rmtree(tmp_path / "gt/fog/train_ref")
    shutil.rmtree(tmp_path / "gt/snow/train_ref")
    with pytest.raises(UserError, match="ACDC: no labels of fog, snow in split 'train_ref'"):
        ACDC(tmp_path, "train_ref")


def test_the_official_counts_are_400_and_100_and_106_by_night(tmp_path, log):
    write_acdc(tmp_path)
    for conditions in (None, ("night",), ("fog", "night")):
        for split in ("train", "val", "val_ref"):
            ACDC(tmp_path, split, conditions=conditions)
    found = [int(text.split()[-5]) for text in warnings(log)]
    assert found == [1600, 406, 400, 106, 800, 206]


def test_test_images_are_listed_without_labels(tmp_path):
    write_acdc(tmp_path)
    assert list(ACDC.images(tmp_path, "test", ["fog"])) == ["fog/GOPR0475/GOPR0475_frame_000001"]
    assert len(ACDC.images(tmp_path, "test")) == 4


def test_an_unknown_condition_suggests_the_nearest(tmp_path):
    with pytest.raises(UserError, match="condition of ACDC 'nigth'; did you mean night"):
        ACDC(tmp_path, "val", conditions=("nigth",))
