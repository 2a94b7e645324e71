"""Nighttime Driving: coarse labels of train ids."""

import numpy as np
import pytest

from ibnseg.datasets import NighttimeDriving
from ibnseg.datasets.groups import GROUPS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.miniatures import PIPELINE, require_scenes, write_nighttime_driving

LABEL = "gtCoarse_daytime_trainvaltest/test/night/01_frame_0744_gtCoarse_labelTrainIds.png"


def test_images_and_train_ids_are_those_of_the_files(tmp_path):
    seeds = write_nighttime_driving(tmp_path)
    require_scenes(NighttimeDriving(tmp_path, "test", pipeline=PIPELINE), tmp_path, seeds)
    assert GROUPS["sequence"](list(seeds)) == ["01", "01", "0"]


def test_a_missing_label_and_an_unknown_value_are_named(tmp_path):
    write_nighttime_driving(tmp_path)
    save_ids(tmp_path / LABEL, np.full((48, 64), 19, np.uint8))
    with pytest.raises(UserError, match=f"{LABEL}: ids 19 are not in the dataset's table"):
        NighttimeDriving(tmp_path, "test", pipeline=PIPELINE)[1]
    (tmp_path / LABEL).unlink()
    with pytest.raises(UserError, match="01_frame_0744_leftImg8bit.png: image without label"):
        NighttimeDriving(tmp_path, "test")
