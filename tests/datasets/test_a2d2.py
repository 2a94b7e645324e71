"""A2D2: colours of 38 categories, six cameras, drives, and a public split."""

import numpy as np
import pytest

from ibnseg.datasets import A2D2
from ibnseg.datasets.a2d2 import split_of_image
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.groups import GROUPS
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb
from tests.datasets.conftest import PIPELINE, labels_of

CAR_1, CAR_4, RD_NORMAL, RAIN_DIRT = (255, 0, 0), (128, 0, 0), (255, 0, 255), (53, 46, 82)
LABEL = np.array([[CAR_1, CAR_4], [RD_NORMAL, RAIN_DIRT]], np.uint8)
FILES = {
    "train": [
        "20180807_145028/{}/cam_front_center/20180807145028_{}_frontcenter_000000091",
        "20181008_095521/{}/cam_side_left/20181008095521_{}_sideleft_000054999",
    ],
    "val": ["20181008_095521/{}/cam_front_center/20181008095521_{}_frontcenter_000055000"],
    "test": ["20181016_125231/{}/cam_rear_center/20181016125231_{}_rearcenter_000000150"],
}


def path_of(root, name, kind):
    return root / "camera_lidar_semantic" / f"{name.format(kind, kind)}.png"


def write_a2d2(root):
    for names in FILES.values():
        for name in names:
            save_rgb(path_of(root, name, "camera"), np.zeros((2, 2, 3), np.uint8))
            save_rgb(path_of(root, name, "label"), LABEL)
            lidar = path_of(root, name, "lidar").with_suffix(".npz")
            lidar.parent.mkdir(parents=True)
            lidar.touch()


def test_labels_of_each_split_are_those_of_the_files(tmp_path):
    write_a2d2(tmp_path)
    for split, names in FILES.items():
        found = labels_of(A2D2(tmp_path, split, pipeline=PIPELINE))
        expected = [path_of(tmp_path, name, "camera") for name in names]
        assert [tmp_path / name for name in found] == expected
        for train_ids in found.values():
            assert train_ids.tolist() == [[13, 13], [0, 255]]


def test_images_are_grouped_by_drive(tmp_path):
    write_a2d2(tmp_path)
    names = list(labels_of(A2D2(tmp_path, "train", pipeline=PIPELINE)))
    assert GROUPS[Domains()["a2d2"].group](names) == ["20180807145028", "20181008095521"]


def test_a_drive_is_divided_at_its_frame():
    drive, name = "20181008_095521", "20181008095521_camera_frontcenter_{:09d}"
    assert [split_of_image(drive, name.format(n)) for n in (54999, 55000)] == ["train", "val"]
    assert split_of_image("20181204_170238", "x_000000001") == "test"


def test_a_colour_of_no_class_and_a_missing_label_are_named(tmp_path):
    with pytest.raises(UserError, match="expected the layout camera_lidar_semantic/<drive>"):
        A2D2(tmp_path, "train")
    write_a2d2(tmp_path)
    path = path_of(tmp_path, FILES["train"][0], "label")
    save_rgb(path, np.full((2, 2, 3), 7, np.uint8))
    with pytest.raises(UserError, match=r"colours \(7, 7, 7\) are not in the dataset's palette"):
        A2D2(tmp_path, "train", pipeline=PIPELINE)[0]
    path.unlink()
    with pytest.raises(UserError, match="frontcenter_000000091.png: image without label"):
        A2D2(tmp_path, "train")
