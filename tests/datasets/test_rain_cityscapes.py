"""RainCityscapes: many images with the label of one image of Cityscapes."""

import pytest

from ibnseg.datasets import RainCityscapes
from ibnseg.support.errors import UserError
from tests.datasets.miniatures import PIPELINE, only, require_scenes, write_rain_cityscapes


def test_all_patterns_of_an_image_have_its_label_and_others_are_left_out(tmp_path):
    seeds = write_rain_cityscapes(tmp_path)
    for split in ("train", "val"):
        dataset = RainCityscapes(tmp_path, split, pipeline=PIPELINE)
        assert len(dataset) == 6
        require_scenes(dataset, tmp_path, only(seeds, f"/{split}/"))


def test_rain_without_the_labels_of_cityscapes_is_named(tmp_path):
    write_rain_cityscapes(tmp_path)
    for path in (tmp_path / "gtFine/val").rglob("lindau_000004*"):
        path.unlink()
    with pytest.raises(UserError, match="images but no labels of split 'val' in .* layout left"):
        RainCityscapes(tmp_path, "val")
