"""Mapillary Vistas 2.0: its labels beside those of 1.2, and both maps."""

import numpy as np
import pytest

from ibnseg.datasets import MapillaryVistas, MapillaryVistas2
from ibnseg.datasets.labels import CLASSES
from ibnseg.evaluation.protocols import PROTOCOLS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb
from tests.datasets.conftest import PIPELINE, labels_of

IDS = np.arange(124, dtype=np.uint8).reshape(2, 62)


def write_vistas2(root):
    for folder in ("training", "validation"):
        save_rgb(root / folder / "images" / "a.jpg", np.zeros((2, 62, 3), np.uint8))
        save_ids(root / folder / "v2.0" / "labels" / "a.png", IDS, palette=True)
        save_ids(root / folder / "v1.2" / "labels" / "a.png", IDS % 66, palette=True)


def test_each_version_reads_its_own_labels(tmp_path):
    write_vistas2(tmp_path)
    for split in ("train", "val"):
        dataset = MapillaryVistas2(tmp_path, split, pipeline=PIPELINE)
        (found,) = labels_of(dataset).values()
        assert found.ravel()[[21, 24, 27, 61, 108]].tolist() == [0, 1, 2, 10, 13]
        (other,) = labels_of(MapillaryVistas(tmp_path, split, pipeline=PIPELINE)).values()
        assert other.ravel()[[13, 15, 17, 27, 55]].tolist() == [0, 1, 2, 10, 13]


def test_all_lights_are_lights_and_backs_of_advertisements_are_nothing(tmp_path):
    write_vistas2(tmp_path)
    for class_map in (None, "openseg"):
        dataset = MapillaryVistas2(tmp_path, "val", class_map=class_map, pipeline=PIPELINE)
        (found,) = labels_of(dataset).values()
        assert found.ravel()[90:96].tolist() == [CLASSES.index("traffic light")] * 6
        assert found.ravel()[80] == 255


def test_the_maps_differ_as_those_of_version_1_2():
    narrow = MapillaryVistas2.LABEL_IDS
    wide = MapillaryVistas2.CLASS_MAPS["openseg"]
    differing = {id_: wide[id_] for id_ in wide if wide[id_] != narrow[id_]}
    roads = dict.fromkeys((13, 14, 17, 23, 45, 56), 0)
    signs = dict.fromkeys((87, 97, 98, 102), 7)
    assert differing == {**roads, 15: 1, 19: 1, 84: 5, 86: 5, **signs, 74: 255}


def test_protocols_resize_and_map_it_as_version_1_2():
    for name in ("robustnet", "rein", "soma"):
        protocol = PROTOCOLS[name]
        assert protocol.view("MapillaryVistas2") == protocol.view("MapillaryVistas")
        maps = protocol.class_maps
        assert maps.get("MapillaryVistas2") == maps.get("MapillaryVistas")


def test_labels_of_1_2_alone_are_refused_with_the_layout(tmp_path):
    with pytest.raises(UserError, match=r"expected the layout .*v2\.0/labels/<name>\.png"):
        MapillaryVistas2(tmp_path, "val")
    write_vistas2(tmp_path)
    (tmp_path / "validation/v2.0/labels/a.png").unlink()
    with pytest.raises(UserError, match="label"):
        MapillaryVistas2(tmp_path, "val")
