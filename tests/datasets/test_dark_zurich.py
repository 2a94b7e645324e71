"""Dark Zurich: photographs by night with train ids, and masks and days that are left out."""

import numpy as np
import pytest

from ibnseg.datasets import DarkZurich
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.miniatures import PIPELINE, require_scenes, write_dark_zurich

LABEL = "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png"


def test_images_and_train_ids_are_those_of_the_files(tmp_path):
    seeds = write_dark_zurich(tmp_path)
    require_scenes(DarkZurich(tmp_path, "val", pipeline=PIPELINE), tmp_path, seeds)
    assert list(DarkZurich.images(tmp_path, "test")) == ["GOPR0364/GOPR0364_frame_000001"]


def test_train_ids_stay_and_other_values_are_named(tmp_path):
    write_dark_zurich(tmp_path)
    ids = np.full((48, 64), 255, np.uint8)
    ids[0, :19] = range(19)
    save_ids(tmp_path / LABEL, ids)
    label = DarkZurich(tmp_path, "val", pipeline=PIPELINE)[0]["gt_seg_map"]
    np.testing.assert_array_equal(label, ids)
    ids[1, 1] = 26  # an id of Cityscapes
    save_ids(tmp_path / LABEL, ids)
    with pytest.raises(UserError, match=f"{LABEL}: ids 26 are not in the dataset's table"):
        DarkZurich(tmp_path, "val", pipeline=PIPELINE)[0]


def test_a_missing_label_is_named_and_training_is_refused(tmp_path):
    write_dark_zurich(tmp_path)
    (tmp_path / LABEL).unlink()
    with pytest.raises(UserError, match="000321_rgb_anon.png: image without label"):
        DarkZurich(tmp_path, "val")
    with pytest.raises(UserError, match="unknown split of DarkZurich 'train'"):
        DarkZurich(tmp_path, "train")
