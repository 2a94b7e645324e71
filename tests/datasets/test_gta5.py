"""GTA5: the official split, its defects, palette labels, and copies stored as RGB."""

import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import GTA5
from ibnseg.datasets.gta5 import ABSENT, DEFECTS, official_split, read_split
from ibnseg.datasets.labels import GTA5_COLORS, GTA5_IDS
from ibnseg.support.errors import UserError
from tests.conftest import GTA5_TRAIN, GTA5_VAL, scene, write_gta5
from tests.datasets.conftest import warnings

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]


def test_the_official_split_has_its_published_sizes_with_and_without_defects():
    split = official_split()
    sizes = {
        name: (len(numbers), len({f"{number:05d}.png" for number in numbers} - DEFECTS.keys()))
        for name, numbers in split.items()
    }
    assert sizes == {"train": (12403, 12402), "val": (6382, 6347), "test": (6181, 6180)}
    assert (len(DEFECTS), len(ABSENT)) == (37, 25)


def test_the_official_split_is_a_partition():
    counts = Counter(n for numbers in official_split().values() for n in numbers)
    assert sorted(counts) == list(range(1, 24967))
    assert set(counts.values()) == {1}


def test_images_and_train_ids_are_those_of_the_files(data):
    for split, frames in (("train", GTA5_TRAIN), ("val", GTA5_VAL)):
        root = data / "gta5"
        dataset = GTA5(root, split, pipeline=PIPELINE)
        assert len(dataset) == len(frames), split
        for sample, frame in zip(dataset, frames, strict=True):
            assert sample["img_path"] == str(root / "images" / f"{frame:05d}.png"), split
            assert sample["seg_map_path"] == str(root / "labels" / f"{frame:05d}.png"), split
            image, train_ids = scene(frame)
            np.testing.assert_array_equal(sample["img"], image[..., ::-1], err_msg=str(split))
            np.testing.assert_array_equal(sample["gt_seg_map"], train_ids, err_msg=str(split))


def test_labels_on_disk_are_palette_images_and_read_as_indices(tmp_path):
    write_gta5(tmp_path, frames=(1,))
    path = tmp_path / "labels" / "00001.png"
    with Image.open(path) as label:
        palette = label.getpalette()
    ids = np.tile(np.arange(35, dtype=np.uint8), (48, 2))[:, :64]
    stored = Image.fromarray(ids)
    stored.putpalette(palette)  # 34 ids, of which some share a colour
    stored.save(path)
    with Image.open(path) as label:
        assert label.mode == "P"
    expected = np.vectorize(GTA5_IDS.get)(ids)
    np.testing.assert_array_equal(
        GTA5(tmp_path, "train", pipeline=PIPELINE)[0]["gt_seg_map"], expected
    )


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A function that writes frames without a split file, listed in the official split's place."""

    def write(written, **split):
        write_gta5(tmp_path, frames=tuple(written))
        (tmp_path / "split.json").unlink()
        listed = dict(train=(), val=(), test=()) | split
        monkeypatch.setattr("ibnseg.datasets.gta5.official_split", lambda: listed)
        return tmp_path

    return write


def test_frames_that_some_copies_lack_are_skipped_with_one_warning(official, log):
    root = official((1, 2), train=(1, 2, 2154, 12054, 15188))
    assert GTA5(root, "train").skipped == ["02154.png", "12054.png", "15188.png"]
    assert warnings(log) == [f"GTA5 train: 2 of 4 frames are not in {root}; they are skipped"]


def test_a_part_that_was_not_unpacked_is_an_error(official):
    root = official((1, 2), train=(1, 2, 3, 4, 2154))
    with pytest.raises(
        UserError, match=r"3 of 5 frames are not in .*, the first is 00003.png; unpack"
    ):
        GTA5(root, "train")


def test_the_official_split_rules_without_a_split_file(data, tmp_path):
    """Thirteen frames are not the dataset."""
    shutil.copytree(data / "gta5", tmp_path / "gta5")
    (tmp_path / "gta5" / "split.json").unlink()
    with pytest.raises(UserError, match="12394 of 12402 frames are not in"):
        GTA5(tmp_path / "gta5", "train")


def test_defects_on_disk_are_left_out(official):
    root = official((1, 2, 15188), train=(1, 2, 15188))
    (root / "labels" / "15188.png").unlink()  # even half a pair
    dataset = GTA5(root, "train")
    assert [dataset.get_data_info(i)["img_path"][-9:] for i in range(len(dataset))] == [
        "00001.png",
        "00002.png",
    ]
    assert dataset.skipped == ["15188.png"]


def test_a_split_file_of_ones_own_is_taken_as_it_is(data, tmp_path):
    """Nothing of it may lack, and the official defects are other images there."""
    write_gta5(tmp_path, frames=(1, 15188))
    assert len(GTA5(tmp_path, "train")) == 2
    assert GTA5(tmp_path, "train").skipped == []
    for folder in ("images", "labels"):
        (tmp_path / folder / "00001.png").unlink()
    with pytest.raises(UserError, match="1 of 2 frames are not in"):
        GTA5(tmp_path, "train")
    (tmp_path / "split.json").write_text('{"train": [[15188, 15188]]}')
    assert len(GTA5(tmp_path, "train")) == 1
    with pytest.raises(UserError, match="no images of split 'val'"):
        GTA5(tmp_path, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": [1, 2]}', "split 'train' has 1, expected"),
        ('{"train": 3}', "split 'train' has 3, expected"),
        ('{"train": [[1, 2, 3]]}', r"split 'train' has \[1, 2, 3\], expected"),
        ('{"train": [[2, 1]]}', r"split 'train' has \[2, 1\], expected"),
        ('{"train": [[-1, 1]]}', r"split 'train' has \[-1, 1\], expected"),
        ('{"train": [[true, 1.5]]}', r"split 'train' has \[True, 1.5\], expected"),
        ('{"train": [[1, 100000000000]]}', "lists 100000000000 images, expected at most 1000000"),
        ('{"train": [[1, 600000]], "val": [[1, 600000]]}', "lists 1200000 images"),
        ("[]", "is a list, expected"),
        ('{"train": ', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_split_file_of_another_form_or_of_too_many_images_is_refused(tmp_path, content, message):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(UserError, match=f"split.json: {message}"):
        GTA5(tmp_path, "train")


def test_a_split_file_may_list_a_million_images(tmp_path):
    (tmp_path / "split.json").write_text('{"train": [[0, 999999]]}', encoding="utf-8-sig")
    assert len(read_split(tmp_path / "split.json")["train"]) == 1_000_000


def test_frames_of_other_splits_and_other_files_are_not_mixed_in(tmp_path):
    write_gta5(tmp_path, frames=(1, 22))
    for folder in ("images", "labels"):
        (tmp_path / folder / "99999.png").write_bytes(b"")
        (tmp_path / folder / "00001_copy.png").write_bytes(b"")
    assert (len(GTA5(tmp_path, "train")), len(GTA5(tmp_path, "val"))) == (1, 1)


def test_a_split_of_which_no_frame_is_there_is_refused(data, official):
    message = "split.json: lists no images of split 'test', only of train, val"
    with pytest.raises(UserError, match=message):
        GTA5(data / "gta5", "test")
    with pytest.raises(UserError, match="no images of split 'train'"):
        GTA5(official((15188,), train=(15188,)), "train")  # a defect


@pytest.fixture
def in_colours(data, tmp_path):
    """A copy whose labels are RGB, as some copies of the download have them."""
    shutil.copytree(data / "gta5", tmp_path / "gta5")
    for path in (tmp_path / "gta5" / "labels").iterdir():
        with Image.open(path) as label:
            rgb = label.convert("RGB")
        rgb.save(path)
    return tmp_path / "gta5"


def test_labels_stored_as_rgb_are_mapped_by_colour_with_one_warning(in_colours, log):
    dataset = GTA5(in_colours, "val", pipeline=PIPELINE)
    log.clear()
    for sample, frame in zip(dataset, GTA5_VAL, strict=True):
        np.testing.assert_array_equal(sample["gt_seg_map"], scene(frame)[1])
    told = [r.getMessage() for r in log.records if "stored as RGB" in r.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(str(in_colours / "labels" / "00022.png"))
    assert "licence plate" in told[0]
    assert "polegroup" in told[0]


def test_every_colour_of_the_palette_has_its_train_id(in_colours):
    colors = [*GTA5_COLORS]
    label = np.zeros((48, 64, 3), np.uint8)
    label[0, : len(colors)] = colors
    Image.fromarray(label).save(in_colours / "labels" / "00001.png")
    train_ids = GTA5(in_colours, "train", pipeline=PIPELINE)[0]["gt_seg_map"]
    assert train_ids[0, : len(colors)].tolist() == [GTA5_COLORS[c] for c in colors]
    assert (train_ids[1:] == 255).all()


def test_colour_outside_the_palette_is_named(in_colours):
    path = in_colours / "labels" / "00001.png"
    label = np.zeros((48, 64, 3), np.uint8)
    label[2, 3] = 1, 2, 3
    Image.fromarray(label).save(path)
    with pytest.raises(UserError) as error:
        GTA5(in_colours, "train", pipeline=PIPELINE)[0]
    assert str(error.value) == f"{path}: colours (1, 2, 3) are not in the dataset's palette"
