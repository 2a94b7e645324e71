"""Foggy Zurich: the test sets are those of its own lists."""

import numpy as np
import pytest

from ibnseg.datasets import FoggyZurich
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.miniatures import PIPELINE, only, require_scenes, write_foggy_zurich

LABEL = "gt_labelIds/GP010229/1508040914.0_frame_000956.png"


def test_each_list_has_its_images_and_labels(tmp_path):
    seeds = write_foggy_zurich(tmp_path)
    require_scenes(FoggyZurich(tmp_path, "testv2", pipeline=PIPELINE), tmp_path, seeds)
    first = only(seeds, "_000955")
    require_scenes(FoggyZurich(tmp_path, "testv1", pipeline=PIPELINE), tmp_path, first)


def test_a_missing_label_and_an_unknown_id_are_named(tmp_path):
    write_foggy_zurich(tmp_path)
    save_ids(tmp_path / LABEL, np.full((48, 64), 34, np.uint8))
    with pytest.raises(UserError, match=f"{LABEL}: ids 34 are not in the dataset's table"):
        FoggyZurich(tmp_path, "testv2", pipeline=PIPELINE)[2]
    (tmp_path / LABEL).unlink()
    with pytest.raises(UserError, match="RGB/GP010229/.*000956.png: image without label"):
        FoggyZurich(tmp_path, "testv2")


def test_listed_images_that_are_not_there_are_counted(tmp_path):
    write_foggy_zurich(tmp_path)
    for path in tmp_path.rglob("*_frame_000956.png"):
        path.unlink()
    message = "RGB_testv2_filenames.txt: lists 3 images, of which 1 are not there, the first is GP"
    with pytest.raises(UserError, match=message):
        FoggyZurich(tmp_path, "testv2")


def test_without_its_list_a_split_has_no_images(tmp_path):
    write_foggy_zurich(tmp_path)
    path = tmp_path / "lists_file_names/RGB_testv2_filenames.txt"
    path.write_text("RGB/a.png\nleftImg8bit/b.png\n")
    with pytest.raises(UserError, match="line 2: is 'leftImg8bit/b.png', expected RGB/<name>.png"):
        FoggyZurich(tmp_path, "testv2")
    path.unlink()
    with pytest.raises(UserError, match="no images of split 'testv2' .* layout lists_file_names"):
        FoggyZurich(tmp_path, "testv2")
