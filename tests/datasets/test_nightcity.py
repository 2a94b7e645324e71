"""NightCity with its official labels and with those of NightCity-fine."""

import numpy as np
import pytest

from ibnseg.datasets import NightCity, NightCityFine
from ibnseg.datasets.groups import GROUPS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids
from tests.datasets.conftest import warnings
from tests.datasets.miniatures import (
    PIPELINE,
    only,
    require_scenes,
    write_nightcity,
    write_nightcity_fine,
)

BOTH = [
    (NightCity, write_nightcity, "NightCity-label/label/val/Chicago_0049_labelIds.png"),
    (NightCityFine, write_nightcity_fine, "val/lbl/Chicago_0049_trainIds.png"),
]
both = pytest.mark.parametrize(("adapter", "write", "label"), BOTH, ids=["official", "fine"])


@both
def test_images_and_train_ids_are_those_of_the_files(tmp_path, adapter, write, label):
    seeds = write(tmp_path)
    for split, names in (("train", ("Chicago_0002", "Dubai")), ("val", ("0004", "0049"))):
        dataset = adapter(tmp_path, split, pipeline=PIPELINE)
        require_scenes(dataset, tmp_path, only(seeds, *names))
    assert GROUPS["sequence"](list(seeds)) == ["Chicago", "Dubai", "Chicago", "Chicago"]


@pytest.mark.parametrize(
    ("case", "ids", "train_ids"),
    [(BOTH[0], [0, 7, 23, 33], [255, 0, 10, 18]), (BOTH[1], [255, 0, 10, 18], [255, 0, 10, 18])],
)
def test_official_labels_are_ids_and_fine_ones_are_train_ids(tmp_path, case, ids, train_ids):
    adapter, write, label = case
    write(tmp_path)
    save_ids(tmp_path / label, np.array(ids, np.uint8).repeat(48 * 16).reshape(48, 64))
    found = adapter(tmp_path, "val", pipeline=PIPELINE)[1]["gt_seg_map"]
    assert found[::12, 0].tolist() == train_ids


@both
def test_a_missing_label_and_an_unknown_value_are_named(tmp_path, adapter, write, label):
    write(tmp_path)
    save_ids(tmp_path / label, np.full((48, 64), 99, np.uint8))
    with pytest.raises(UserError, match=f"{label}: ids 99 are not in the dataset's table"):
        adapter(tmp_path, "val", pipeline=PIPELINE)[1]
    (tmp_path / label).unlink()
    with pytest.raises(UserError, match="Chicago_0049.png: image without label"):
        adapter(tmp_path, "val")


@both
def test_a_training_image_in_val_is_refused(tmp_path, adapter, write, label):
    write(tmp_path)
    for path in [*tmp_path.rglob("Dubai_0016*")]:
        target = str(path).replace("/train/", "/val/")
        path.rename(target)
    with pytest.raises(UserError, match="Dubai_0016.png: is a training image, which older copies"):
        adapter(tmp_path, "val")


def test_the_official_counts_are_2998_and_1299(tmp_path, log):
    write_nightcity(tmp_path)
    for split in ("train", "val"):
        NightCity(tmp_path, split)
    assert [int(text.split()[-5]) for text in warnings(log)] == [2998, 1299]
