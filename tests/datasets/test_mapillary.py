"""Mapillary Vistas: both layouts of its labels, both maps to the 19 classes."""

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import MapillaryVistas
from ibnseg.datasets.labels import CLASSES, IGNORE, MAPILLARY_IDS, MAPILLARY_OPENSEG_IDS
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
ALL_IDS = np.tile(np.arange(66, dtype=np.uint8), (2, 1))


def write(root, labels: str, names=("b", "a")) -> None:
    for name in names:
        image = np.zeros((*ALL_IDS.shape, 3), np.uint8)
        save_rgb(root / "validation" / "images" / f"{name}.jpg", image)
        path = root / "validation" / labels / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        label = Image.fromarray(ALL_IDS)
        label.putpalette(np.arange(768, dtype=np.uint8).tobytes())
        label.save(path)


@pytest.mark.parametrize("labels", ["labels", "v1.2/labels"])
def test_train_ids_of_both_downloads(tmp_path, labels):
    write(tmp_path, labels)
    dataset = MapillaryVistas(tmp_path, "val", pipeline=PIPELINE)
    assert [dataset[i]["img_path"][-5:] for i in range(2)] == ["a.jpg", "b.jpg"]
    assert dataset[0]["gt_seg_map"][0].tolist() == [MAPILLARY_IDS[i] for i in range(66)]


def test_the_openseg_map_can_be_chosen(tmp_path):
    write(tmp_path, "labels")
    dataset = MapillaryVistas(tmp_path, "val", class_map="openseg", pipeline=PIPELINE)
    assert dataset[0]["gt_seg_map"][1].tolist() == [MAPILLARY_OPENSEG_IDS[i] for i in range(66)]


def test_an_unknown_map_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match="unknown class map of MapillaryVistas 'opensg'; did you m"):
        MapillaryVistas(tmp_path, "val", class_map="opensg")


def test_both_maps_are_those_of_the_published_repositories():
    """The maps as the repositories have them: id to train id, all others ignored."""
    first = {13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7}
    first |= {30: 8, 29: 9, 27: 10, 19: 11, 20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15}
    first |= {58: 16, 57: 17, 52: 18}
    assert dict.fromkeys(range(66), 255) | first == MAPILLARY_IDS
    second = {2: 1, 3: 4, 6: 3, 7: 0, 8: 0, 9: 1, 10: 0, 11: 1, 13: 0, 14: 0, 15: 1, 17: 2, 19: 11}
    second |= {20: 12, 21: 12, 22: 12, 23: 0, 24: 0, 27: 10, 29: 9, 30: 8, 44: 5, 45: 5, 46: 7}
    second |= {47: 5, 48: 6, 49: 7, 50: 7, 52: 18, 54: 15, 55: 13, 57: 17, 58: 16, 61: 14}
    assert dict.fromkeys(range(66), 255) | second == MAPILLARY_OPENSEG_IDS
    assert MapillaryVistas.labelled_classes() == CLASSES
    assert IGNORE == 255


def test_an_empty_folder_names_the_expected_layout(tmp_path):
    with pytest.raises(UserError, match=r"no images of split 'train'.*\{training,validation\}"):
        MapillaryVistas(tmp_path, "train")
