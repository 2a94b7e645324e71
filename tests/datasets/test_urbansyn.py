"""UrbanSyn: train ids in the labels, numbers in the names, and the split by number."""

import numpy as np
import pytest

from ibnseg.datasets import UrbanSyn
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb, scene
from tests.datasets.conftest import PIPELINE, labels_of, warnings


def write_urbansyn(root, numbers=(1, 2, 6016, 6017, 7539)):
    for n in numbers:
        image, train_ids = scene(n)
        save_rgb(root / f"rgb/rgb_{n:04d}.png", image)
        save_ids(root / f"ss/ss_{n:04d}.png", np.where(train_ids == 255, 19, train_ids))
        save_rgb(root / f"ss_color/ss_color_{n:04d}.png", image)


def test_labels_of_each_split_are_those_of_the_files(tmp_path, log):
    write_urbansyn(tmp_path)
    splits = {"all": (1, 2, 6016, 6017, 7539), "train": (1, 2, 6016), "val": (6017, 7539)}
    for split, numbers in splits.items():
        found = labels_of(UrbanSyn(tmp_path, split, pipeline=PIPELINE))
        assert list(found) == [f"rgb/rgb_{n:04d}.png" for n in numbers]
        for n, train_ids in zip(numbers, found.values(), strict=True):
            np.testing.assert_array_equal(train_ids, scene(n)[1])
    assert not any("train ids" in text for text in warnings(log))  # which they rightly are


def test_ids_of_cityscapes_are_refused(tmp_path):
    write_urbansyn(tmp_path, (1,))
    save_ids(tmp_path / "ss/ss_0001.png", np.full((48, 64), 26, np.uint8))
    with pytest.raises(UserError, match="ss_0001.png: ids 26 are not in the dataset's table"):
        UrbanSyn(tmp_path, "train", pipeline=PIPELINE)[0]


def test_a_missing_image_and_a_wrong_name_are_named(tmp_path):
    write_urbansyn(tmp_path)
    (tmp_path / "rgb/rgb_0002.png").unlink()
    with pytest.raises(UserError, match="ss_0002.png: label without image"):
        UrbanSyn(tmp_path, "train")
    (tmp_path / "ss/ss_0002.png").rename(tmp_path / "ss/ss_color_0002.png")
    with pytest.raises(UserError, match="is not called ss_<number>.png; expected the layout rgb/"):
        UrbanSyn(tmp_path, "train")


def test_an_empty_folder_names_the_layout(tmp_path):
    with pytest.raises(UserError, match="expected the layout rgb/rgb_<number>"):
        UrbanSyn(tmp_path, "all")
