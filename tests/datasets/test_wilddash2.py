"""WildDash 2: segments in the form of COCO panoptic, the authors' map, and other releases."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import WildDash2
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb
from tests.datasets.conftest import PIPELINE, labels_of

SKY, CAR, ROAD = (CLASSES.index(name) for name in ("sky", "car", "road"))
SEGMENTS = {1: 23, 300: 35, 70000: 38, 2**24 - 1: 80}
"""The ids of segments whose colours have one, two and three bytes: sky, van, road marking and curb
cut."""

LABEL = np.array([[1, 1, 300, 300], [70000, 2**24 - 1, 5, 0]])
"""Segment 5 and the black pixel are not listed."""


def write_wilddash2(root: Path, segments: dict = SEGMENTS, names: tuple = ("aa0000", "ab0001")):
    annotations = []
    for number, name in enumerate(names):
        save_rgb(root / f"images/{name}.jpg", np.zeros((2, 4, 3), np.uint8))
        rgb = np.stack([LABEL & 255, LABEL >> 8 & 255, LABEL >> 16], -1).astype(np.uint8)
        save_rgb(root / f"panoptic/{name}.png", rgb)
        infos = [dict(id=id_, category_id=category) for id_, category in segments.items()]
        annotations.append(dict(image_id=number, file_name=f"{name}.png", segments_info=infos))
    (root / "panoptic.json").write_text(json.dumps(dict(annotations=annotations)))


def test_segments_become_train_ids_by_the_authors_map(tmp_path):
    write_wilddash2(tmp_path)
    found = labels_of(WildDash2(tmp_path, "all", pipeline=PIPELINE))
    assert list(found) == ["images/aa0000.jpg", "images/ab0001.jpg"]
    for train_ids in found.values():
        assert train_ids.tolist() == [[SKY, SKY, CAR, CAR], [ROAD, 1, 255, 255]]
    require_equal_sizes(WildDash2(tmp_path, "all"))


def test_the_map_of_the_ids_of_cityscapes_can_be_chosen(tmp_path):
    write_wilddash2(tmp_path)
    found = labels_of(WildDash2(tmp_path, "all", class_map="first34", pipeline=PIPELINE))
    assert found["images/aa0000.jpg"].tolist() == [[SKY, SKY, 255, 255], [255] * 4]


def test_an_id_out_of_the_table_is_named(tmp_path):
    write_wilddash2(tmp_path, {**SEGMENTS, 1: 81})
    with pytest.raises(UserError, match=r"aa0000.png: ids 81 are not in the dataset's table"):
        WildDash2(tmp_path, "all", pipeline=PIPELINE)[0]


def test_the_alpha_release_is_refused(tmp_path):
    write_wilddash2(tmp_path, {1: 23, 300: 38})
    with pytest.raises(UserError, match="no id above 38, as in the alpha release .* wd_public_v2p"):
        WildDash2(tmp_path, "all")


def test_the_file_of_the_segments_must_be_there(tmp_path):
    write_wilddash2(tmp_path)
    (tmp_path / "panoptic.json").unlink()
    with pytest.raises(UserError, match=r"panoptic.json: no such file; expected the layout images"):
        WildDash2(tmp_path, "all")


def test_a_label_that_is_not_listed_or_in_grey_is_named(tmp_path):
    write_wilddash2(tmp_path)
    shutil.copy(tmp_path / "panoptic/aa0000.png", tmp_path / "panoptic/zz.png")
    shutil.copy(tmp_path / "images/aa0000.jpg", tmp_path / "images/zz.jpg")
    save_ids(tmp_path / "panoptic/aa0000.png", np.zeros((2, 4), np.uint8))
    dataset = WildDash2(tmp_path, "all", pipeline=PIPELINE)
    with pytest.raises(UserError, match="zz.png: has no annotation in .*panoptic.json"):
        dataset[2]
    with pytest.raises(UserError, match="aa0000.png: is not RGB"):
        dataset[0]


def test_a_missing_label_or_another_size_is_named(tmp_path):
    write_wilddash2(tmp_path)
    Image.new("RGB", (4, 3)).save(tmp_path / "panoptic/aa0000.png")
    with pytest.raises(UserError, match="aa0000.png: label of 4x3 for an image of 4x2"):
        require_equal_sizes(WildDash2(tmp_path, "all"))
    (tmp_path / "panoptic/aa0000.png").unlink()
    with pytest.raises(UserError, match="aa0000.jpg: image without label"):
        WildDash2(tmp_path, "all")


def test_caches_and_stores_know_the_segments(tmp_path):
    identities = set()
    for segments in (SEGMENTS, {**SEGMENTS, 300: 26}, {**SEGMENTS, 301: 35}):
        write_wilddash2(tmp_path, segments)
        identities.add(WildDash2(tmp_path, "all").label_reader.identity())
    assert len(identities) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "has no annotations, expected {"),
        ('{"annotations": [{"file_name": "a.png"}]}', "annotation 0 has no segments"),
        (
            '{"annotations": [{"file_name": "a", "segments_info": '
            '[{"id": 1, "category_id": 256}]}]}',
            "annotation 0 has the id 256, expected 0 to 255",
        ),
        (
            '{"annotations": [{"file_name": "a", "segments_info": '
            '[{"id": -1, "category_id": 1}]}]}',
            "annotation 0 has the id -1, expected 0 to 16777215",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_form(tmp_path, content, message):
    write_wilddash2(tmp_path)
    (tmp_path / "panoptic.json").write_text(content)
    with pytest.raises(UserError, match=f"panoptic.json: {message}"):
        WildDash2(tmp_path, "all")
