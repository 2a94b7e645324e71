"""IDD: polygons of both archives, painted as the official generator does; the 26 classes of level
3."""

import json
from pathlib import Path

import numpy as np
import pytest

from ibnseg.datasets import IDD, IDDLevel3
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.groups import GROUPS
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.prepare import prepare
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb
from tests.datasets.conftest import PIPELINE, labels_of, warnings

SKY, ROAD, CAR = (CLASSES.index(name) for name in ("sky", "road", "car"))


def box(label: str, left: int, top: int, right: int, bottom: int, **more) -> dict:
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"date": "08-Feb-2019", "deleted": 0, "label": label, "polygon": points, **more}


OBJECTS = [
    box("sky", 0, 0, 7, 1),
    box("road", 0, 2, 7, 5),
    box("cargroup", 2, 2, 4, 4),
    box("license plate", 3, 3, 3, 3),
    box("person", 0, 0, 7, 5, deleted=1),
    {"label": "pole", "polygon": [], "deleted": 0},
    {"label": "pole", "polygon": [[0, 0], [7, 5]], "deleted": 0},
    box("ground", 0, 0, 7, 5),
    box("autorickshaw", 6, 4, 20, 20),
]
"""A person that is deleted, poles without an area, a label that the official table lacks, and a box
that leaves the image."""

PAINTED = np.array(
    [
        [SKY] * 8,
        [SKY] * 8,
        [ROAD, ROAD, CAR, CAR, CAR, ROAD, ROAD, ROAD],
        [ROAD, ROAD, CAR, 255, CAR, ROAD, ROAD, ROAD],
        [ROAD, ROAD, CAR, CAR, CAR, ROAD, 255, 255],
        [ROAD] * 6 + [255] * 2,
    ]
)


def write(root: Path, image: str, objects: list = OBJECTS, size: tuple = (8, 6)) -> Path:
    """An image of 8x6, and its polygons."""
    save_rgb(root / f"leftImg8bit/{image}", np.zeros((6, 8, 3), np.uint8))
    path = root / f"gtFine/{image.split('_leftImg8bit')[0]}_gtFine_polygons.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"imgHeight": size[1], "imgWidth": size[0], "objects": objects}
    path.write_text(json.dumps(content, indent=4))
    return path


def write_idd(root: Path) -> None:
    write(root, "train/0/000001_leftImg8bit.png")
    write(root, "train/283/frame2890_leftImg8bit.jpg")
    write(root, "val/119/035471_leftImg8bit.png")


def test_polygons_are_painted_as_the_official_generator_does(tmp_path, log):
    write_idd(tmp_path)
    found = labels_of(IDD(tmp_path, "train", pipeline=PIPELINE))
    assert list(found) == [
        "leftImg8bit/train/0/000001_leftImg8bit.png",
        "leftImg8bit/train/283/frame2890_leftImg8bit.jpg",
    ]
    for train_ids in found.values():
        np.testing.assert_array_equal(train_ids, PAINTED)
    assert sum("label 'ground' is not in the dataset's table" in w for w in warnings(log)) <= 1
    assert not any("train ids" in w for w in warnings(log))


def test_pixels_without_a_polygon_are_ignored(tmp_path):
    write(tmp_path, "val/1/2_leftImg8bit.png", [box("sky", 0, 0, 7, 0)])
    (found,) = labels_of(IDD(tmp_path, "val", pipeline=PIPELINE)).values()
    assert found.tolist() == [[SKY] * 8] + [[255] * 8] * 5


def test_archives_that_are_unpacked_side_by_side_are_read_as_one(tmp_path):
    write(tmp_path / "IDD_Segmentation", "val/119/1_leftImg8bit.png")
    write(tmp_path / "idd20kII", "val/301/frame7_leftImg8bit.jpg")
    assert len(IDD(tmp_path, "val")) == 2
    write(tmp_path, "val/119/1_leftImg8bit.png")
    with pytest.raises(UserError, match="1_leftImg8bit.png: is also in .*; remove one"):
        IDD(tmp_path, "val")


def test_the_other_map_can_be_chosen(tmp_path):
    write_idd(tmp_path)
    (found,) = labels_of(IDD(tmp_path, "val", class_map="dynalign", pipeline=PIPELINE)).values()
    assert found[4].tolist() == [ROAD, ROAD, CAR, CAR, CAR, ROAD, CAR, CAR]  # an autorickshaw


def test_level_3_has_its_26_classes(tmp_path):
    objects = [box("trailer", 0, 0, 7, 5), box("animal", 0, 0, 3, 1), box("tunnel", 0, 2, 3, 3)]
    objects.append(box("ego vehicle", 0, 4, 3, 5))
    write(tmp_path, "val/1/2_leftImg8bit.png", objects)
    (found,) = labels_of(IDDLevel3(tmp_path, "val", pipeline=PIPELINE)).values()
    assert found[::2, ::4].tolist() == [[4, 12], [23, 12], [255, 12]]
    assert len(IDDLevel3.CLASS_SET.classes) == len(Domains()["idd_level3"].averaged) == 26


def test_images_are_grouped_by_drive():
    names = ["leftImg8bit/val/119/035471_leftImg8bit.png", "leftImg8bit/val/132/1_leftImg8bit.jpg"]
    assert GROUPS[Domains()["idd"].group](names) == ["119", "132"]


def test_up_to_one_image_in_a_hundred_may_lack_its_polygons(tmp_path, log):
    for i in range(100):
        write(tmp_path, f"val/1/{i}_leftImg8bit.png", [])
    (tmp_path / "gtFine/val/1/7_gtFine_polygons.json").unlink()
    dataset = IDD(tmp_path, "val")
    assert (len(dataset), dataset.skipped) == (99, ["1/7"])
    assert "1/7" in warnings(log)[0]
    (tmp_path / "gtFine/val/1/8_gtFine_polygons.json").unlink()
    with pytest.raises(UserError, match=r"7_leftImg8bit.png: image without label \(and 1 more\)"):
        IDD(tmp_path, "val")


@pytest.mark.parametrize("space", [0, 5000])
def test_sizes_are_compared_without_painting(tmp_path, space):
    path = write(tmp_path, "val/1/2_leftImg8bit.png", size=(8, 7))
    path.write_text(" " * space + path.read_text())
    with pytest.raises(UserError, match="2_gtFine_polygons.json: label of 8x7 for an image of 8x6"):
        require_equal_sizes(IDD(tmp_path, "val"))
    with pytest.raises(UserError, match="label of 8x7 for an image of 8x6"):
        IDD(tmp_path, "val", pipeline=PIPELINE)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "has no size of an image, expected {"),
        ('{"imgWidth": 8, "imgHeight": 0, "objects": []}', "has no size of an image"),
        ('{"imgWidth": 99999, "imgHeight": 99999, "objects": []}', "more than 178,956,970 pixels"),
        ('{"imgWidth": 8, "imgHeight": 6}', "has no objects, expected {"),
        ('{"imgWidth": 8, "imgHeight": 6, "objects": [3]}', "object 0 is no polygon"),
        (
            '{"imgWidth": 8, "imgHeight": 6, "objects": [{"label": "sky", "polygon": [[1]]}]}',
            "object 0 is no polygon",
        ),
        (
            '{"imgWidth": 8, "imgHeight": 6, "objects": [{"label": "a", "polygon": [["x", 1]]}]}',
            "object 0 is no polygon",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_form(tmp_path, content, message):
    path = write(tmp_path, "val/1/2_leftImg8bit.png")
    path.write_text(content)
    with pytest.raises(UserError) as error:
        IDD(tmp_path, "val", pipeline=PIPELINE)[0]
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_painted_labels_are_prepared_once(tmp_path, monkeypatch):
    """And a store is not used for other tables."""
    write_idd(tmp_path / "idd")
    (folder,) = prepare(["idd"], tmp_path / "prepared", roots={"idd": str(tmp_path / "idd")})
    stored = IDD(tmp_path / "idd", "train", prepared=folder, pipeline=PIPELINE)
    stored.store.require_unchanged(stored.infos())
    for train_ids in labels_of(stored).values():
        np.testing.assert_array_equal(train_ids, PAINTED)
    monkeypatch.setattr(IDD.label_reader, "identity", lambda: "another")
    other = IDD(tmp_path / "idd", "train", prepared=folder)
    with pytest.raises(UserError, match="prepared"):
        other.store.require_unchanged(other.infos())
