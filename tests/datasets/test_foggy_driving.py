"""Foggy Driving: fine and coarse labels, and three lists of images."""

import numpy as np
import pytest

from ibnseg.datasets import FoggyDriving
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.miniatures import PIPELINE, only, require_scenes, write_foggy_driving

LABEL = "gtCoarse/test_extra/web/web_000001_000000_gtCoarse_labelIds.png"


def test_each_list_has_its_images_and_labels(tmp_path):
    seeds = write_foggy_driving(tmp_path)
    expected = {
        "testall": seeds,
        "testfine": only(seeds, "/test/"),
        "testdense": only(seeds, "public_000002", "pedestrian"),
    }
    for split, own in expected.items():
        require_scenes(FoggyDriving(tmp_path, split, pipeline=PIPELINE), tmp_path, own)


def test_a_missing_label_and_an_unknown_id_are_named(tmp_path):
    write_foggy_driving(tmp_path)
    save_ids(tmp_path / LABEL, np.full((48, 64), 34, np.uint8))
    with pytest.raises(UserError, match=f"{LABEL}: ids 34 are not in the dataset's table"):
        FoggyDriving(tmp_path, "testall", pipeline=PIPELINE)[3]
    (tmp_path / LABEL).unlink()
    with pytest.raises(UserError, match="web_000001_000000_leftImg8bit.png: image without label"):
        FoggyDriving(tmp_path, "testall")
    assert len(FoggyDriving(tmp_path, "testfine")) == 2
