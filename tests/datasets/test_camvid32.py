"""CamVid of its authors: 32 colours, SegNet's split, and MSeg's map."""

import numpy as np
import pytest

from ibnseg.datasets import CamVid32
from ibnseg.datasets.camvid32 import split_of_frame
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb
from tests.datasets.conftest import PIPELINE, labels_of, warnings

ROAD, LANES, SUV, VOID, UNKNOWN = (
    (128, 64, 128), (128, 0, 192), (64, 128, 192), (0, 0, 0), (1, 2, 3)
)  # fmt: skip
LABEL = np.array([[ROAD, LANES], [SUV, VOID]], np.uint8)
FRAMES = {
    "train": ("0001TP_006690", "0001TP_008520", "0006R0_f00930", "0016E5_07920", "0016E5_08190"),
    "val": ("0016E5_07959", "0016E5_08159"),
    "test": ("0001TP_008550", "Seq05VD_f00000"),
}


def write_camvid32(root):
    for names in FRAMES.values():
        for name in names:
            save_rgb(root / f"701_StillsRaw_full/{name}.png", np.zeros((2, 2, 3), np.uint8))
            save_rgb(root / f"LabeledApproved_full/{name}_L.png", LABEL)


def test_labels_of_each_split_are_those_of_the_files(tmp_path, log):
    write_camvid32(tmp_path)
    for split, names in FRAMES.items():
        dataset = CamVid32(tmp_path, split, pipeline=PIPELINE)
        require_equal_sizes(dataset)
        found = labels_of(dataset)
        assert list(found) == [f"701_StillsRaw_full/{name}.png" for name in names]
        for train_ids in found.values():
            assert train_ids.tolist() == [[0, 0], [13, 255]]
    assert not any("stored as RGB" in text for text in warnings(log))


def test_the_split_has_the_frames_of_the_published_lists():
    """Their frames: every 30th of each drive, one at 901, and every second for validation."""
    frames = [f"0001TP_{n:06d}" for n in range(6690, 10381, 30)]
    frames += [f"0006R0_f{n:05d}" for n in range(930, 3931, 30)]
    frames += [f"Seq05VD_f{n:05d}" for n in range(0, 5101, 30)]
    drive = [*range(390, 2401, 30), *range(4350, 7921, 30), *range(8190, 8641, 30)]
    frames += [f"0016E5_{901 if n == 900 else n:05d}" for n in drive]
    frames += [f"0016E5_{n:05d}" for n in range(7959, 8160, 2)]
    splits = [split_of_frame(name) for name in frames]
    assert {s: splits.count(s) for s in FRAMES} == {"train": 367, "val": 101, "test": 233}


def test_the_map_of_mseg_can_be_chosen(tmp_path):
    write_camvid32(tmp_path)
    found = labels_of(CamVid32(tmp_path, "val", class_map="mseg", pipeline=PIPELINE))
    assert found["701_StillsRaw_full/0016E5_07959.png"].tolist() == [[0, 255], [255, 255]]


def test_a_map_of_ones_own_maps_the_colours(tmp_path):
    write_camvid32(tmp_path)
    own = {**dict.fromkeys(classes_of("camvid32").names, ""), "SUVPickupTruck": "truck"}
    found = labels_of(CamVid32(tmp_path, "val", class_map=own, pipeline=PIPELINE))
    assert found["701_StillsRaw_full/0016E5_07959.png"].tolist() == [[255, 255], [14, 255]]


def test_an_unknown_colour_and_a_label_in_grey_are_refused(tmp_path):
    write_camvid32(tmp_path)
    path = tmp_path / "LabeledApproved_full/0016E5_07959_L.png"
    save_rgb(path, np.array([[ROAD, UNKNOWN]] * 2, np.uint8))
    dataset = CamVid32(tmp_path, "val", pipeline=PIPELINE)
    with pytest.raises(UserError, match=r"07959_L.png: colours \(1, 2, 3\) are not in the dataset"):
        dataset[0]
    save_ids(path, np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match="07959_L.png: has one channel, expected RGB"):
        dataset[0]


def test_missing_and_foreign_frames_are_named(tmp_path):
    with pytest.raises(UserError, match="expected the layout 701_StillsRaw_full"):
        CamVid32(tmp_path, "val")
    write_camvid32(tmp_path)
    (tmp_path / "LabeledApproved_full/0016E5_07959_L.png").unlink()
    with pytest.raises(UserError, match="0016E5_07959.png: image without label"):
        CamVid32(tmp_path, "val")
    save_rgb(tmp_path / "701_StillsRaw_full/0016E6_07959.png", LABEL)
    with pytest.raises(UserError, match="0016E6_07959.png: is not called <sequence>_<frame>"):
        CamVid32(tmp_path, "val")
