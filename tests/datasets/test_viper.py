"""VIPER: palette labels, sequences, JPEG or PNG, and parts by the last digit of a frame."""

import numpy as np
import pytest

from ibnseg.datasets import VIPER
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.groups import GROUPS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb
from tests.datasets.conftest import PIPELINE, labels_of

IDS = np.arange(32, dtype=np.uint8).reshape(2, 16)
TRAIN_IDS = [
    [255, 255, 10, 0, 1, 255, 9, 8, 8, 2, 255, 4, 255, 6, 7, 255],
    [255, 255, 255, 255, 11, 255, 18, 17, 13, 255, 15, 14, 255, 16, 255, 255],
]


def write_viper(root, suffix=".jpg", images=(10, 20), labels=(10, 20)):
    for split, sequence in (("train", "001"), ("val", "047")):
        for frame in images:
            name = f"{split}/img/{sequence}/{sequence}_{frame:05d}{suffix}"
            save_rgb(root / name, np.zeros((2, 16, 3), np.uint8))
        for frame in labels:
            name = f"{split}/cls/{sequence}/{sequence}_{frame:05d}.png"
            save_ids(root / name, IDS, palette=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_labels_are_those_of_the_files(tmp_path, suffix):
    write_viper(tmp_path, suffix)
    found = labels_of(VIPER(tmp_path, "val", pipeline=PIPELINE))
    assert list(found) == [f"val/img/047/047_000{n}0{suffix}" for n in (1, 2)]
    for train_ids in found.values():
        assert train_ids.tolist() == TRAIN_IDS
    assert GROUPS[Domains()["viper"].group](list(found)) == ["047", "047"]


def test_vans_can_be_cars(tmp_path):
    write_viper(tmp_path)
    found = labels_of(VIPER(tmp_path, "train", class_map="vans_are_cars", pipeline=PIPELINE))
    assert found["train/img/001/001_00010.jpg"][1, 8:10].tolist() == [13, 13]


def test_digits_of_which_a_half_was_not_downloaded_are_left_out(tmp_path):
    write_viper(tmp_path, images=range(1, 31), labels=(10, 20, 30))
    assert len(VIPER(tmp_path, "train")) == 3
    (tmp_path / "train/cls/001/001_00020.png").unlink()
    with pytest.raises(UserError, match="001_00020.jpg: image without label"):
        VIPER(tmp_path, "train")


def test_parts_without_a_common_digit_are_refused(tmp_path):
    write_viper(tmp_path, images=(1, 11), labels=(10, 20))
    with pytest.raises(UserError, match=r"image without label \(and 3 more\)"):
        VIPER(tmp_path, "train")


def test_an_unknown_id_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected the layout {train,val}/img/<sequence>"):
        VIPER(tmp_path, "train")
    write_viper(tmp_path)
    save_ids(tmp_path / "train/cls/001/001_00010.png", IDS + 1)
    with pytest.raises(UserError, match="ids 32 are not in the dataset's table"):
        VIPER(tmp_path, "train", pipeline=PIPELINE)[0]
