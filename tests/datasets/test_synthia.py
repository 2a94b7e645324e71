"""SYNTHIA-RAND-CITYSCAPES: labels of 16 bits and three channels, and RobustNet's split."""

import cv2
import numpy as np
import pytest

from ibnseg.datasets import Synthia
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import SUBSETS
from ibnseg.datasets.synthia import validation_names
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene
from tests.datasets.miniatures import PIPELINE, only, require_scenes, save_16_bits, write_synthia


@pytest.mark.parametrize("folder", ["", "RAND_CITYSCAPES"])
def test_images_and_train_ids_are_those_of_the_files(tmp_path, folder):
    seeds = {f"{folder}/{k}".strip("/"): v for k, v in write_synthia(tmp_path / folder).items()}
    val = only(seeds, "0000000", "0000003", "0000004", "0009396")
    require_scenes(Synthia(tmp_path, "val", pipeline=PIPELINE), tmp_path, val)
    train = only(seeds, "0000001", "0000002", "0009399")
    require_scenes(Synthia(tmp_path, "train", pipeline=PIPELINE), tmp_path, train)
    require_scenes(Synthia(tmp_path, "all", pipeline=PIPELINE), tmp_path, seeds)


def test_the_random_split_has_its_published_size():
    names = validation_names()
    assert len(names) == 2820
    assert (min(names), max(names)) == ("0000000", "0009396")
    assert {"0004328", "0008878"} < names  # lines 1334 and 2667 of the list
    assert "0000001" not in names


def test_every_id_becomes_its_train_id_and_instances_change_nothing(tmp_path):
    save_rgb(tmp_path / "RGB/0000001.png", np.zeros((1, 23, 3), np.uint8))
    save_16_bits(tmp_path / "GT/LABELS/0000001.png", np.arange(23, dtype=np.uint8)[None])
    expected = [
        *(255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18),  # void, sky, building, road, ...
        *(17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255),  # motorcycle, parking slot, ...
    ]
    sample = Synthia(tmp_path, "train", pipeline=PIPELINE)[0]
    assert sample["gt_seg_map"].tolist() == [expected]


@pytest.mark.parametrize(
    ("number", "message"),
    [(23, "ids 23 are not in the dataset's table"), (300, "the red channel has the id 300")],
)
def test_an_unknown_id_is_named(tmp_path, number, message):
    write_synthia(tmp_path, (1,))
    bgr = np.full((48, 64, 3), number, np.uint16)
    path = tmp_path / "GT/LABELS/0000001.png"
    assert cv2.imwrite(str(path), bgr)
    with pytest.raises(UserError, match=f"{path}: {message}"):
        Synthia(tmp_path, "train", pipeline=PIPELINE)[0]


def test_a_label_that_unrar_lost_or_cut_is_named(tmp_path):
    write_synthia(tmp_path)
    path = tmp_path / "GT/LABELS/0000001.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path}: truncated or damaged"):
        Synthia(tmp_path, "train", pipeline=PIPELINE)[0]
    path.unlink()
    with pytest.raises(UserError, match="RGB/0000001.png: image without label"):
        Synthia(tmp_path, "train")


def test_colours_instead_of_labels_are_refused(tmp_path):
    write_synthia(tmp_path, (1,))
    (tmp_path / "GT/LABELS").rename(tmp_path / "GT/COLOR")
    with pytest.raises(UserError, match=r"images but no labels .* expected the layout RGB/%07d"):
        Synthia(tmp_path, "train")
    save_rgb(tmp_path / "GT/LABELS/0000001.png", scene(0)[0])  # GT/COLOR under another name
    with pytest.raises(UserError, match="are not in the dataset's table"):
        Synthia(tmp_path, "train", pipeline=PIPELINE)[0]


def test_the_mean_is_over_the_16_classes_that_occur():
    assert Domains()["synthia"].averaged == SUBSETS["synthia16"]
