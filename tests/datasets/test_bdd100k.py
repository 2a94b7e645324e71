"""BDD100K's two releases give the same train ids."""

from pathlib import Path

import numpy as np
import pytest

from ibnseg.datasets.bdd100k import BDD100K, BDD100KDrivable
from ibnseg.datasets.labels import DRIVABLE
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.support.errors import UserError
from tests.conftest import BDD100K_NAMES as NAMES
from tests.conftest import save_ids, scene, write_bdd100k
from tests.conftest import write_drivable as drivable
from tests.datasets.conftest import warnings
from tests.support.refusals import refused

SHARED = "images/100k"


def sem_seg(root: Path, release: str) -> None:
    folders = {
        "2021": ("images/10k", "labels/sem_seg/masks", ".png"),
        "2018": ("seg/images", "seg/labels", "_train_id.png"),
    }[release]
    write_bdd100k(root, *folders, scene(0)[1])


def train_ids(dataset, i: int = 0) -> np.ndarray:
    return LoadLabel().train_ids(dataset.get_data_info(i))


@pytest.mark.parametrize("release", ["2021", "2018"])
def test_drivable_is_one_domain_with_one_order_of_classes(tmp_path, release) -> None:
    drivable(tmp_path, release)
    for split in ("train", "val"):
        dataset = BDD100KDrivable(tmp_path, split)
        assert dataset.metainfo["classes"] == ("direct", "alternative", "background")
        infos = [dataset.get_data_info(i) for i in range(2)]
        assert [Path(info["img_path"]).stem for info in infos] == list(NAMES), split
        for i in range(2):
            rows = [DRIVABLE.classes[row[0]] for row in train_ids(dataset, i)[::16]]
            assert rows == ["background", "alternative", "direct"], split


@pytest.mark.parametrize("release", ["2021", "2018"])
def test_semantic_segmentation_has_train_ids(tmp_path, release) -> None:
    sem_seg(tmp_path, release)
    dataset = BDD100K(tmp_path, "val")
    assert len(dataset) == 2
    assert len(dataset.metainfo["classes"]) == 19
    np.testing.assert_array_equal(train_ids(dataset), scene(0)[1])


@pytest.mark.parametrize(
    ("adapter", "make"), [(BDD100K, sem_seg), (BDD100KDrivable, drivable)], ids=["10k", "100k"]
)
def test_the_test_split_has_images_and_no_labels(tmp_path, adapter, make) -> None:
    for release in ("2021", "2018"):
        root = tmp_path / release
        make(root, release)
        images = adapter.images(root, "test")
        assert sorted(images) == list(NAMES), release
        assert all(path.is_file() and path.parent.name == "test" for path in images.values())
        with pytest.raises(UserError, match="unknown split of BDD100K.* 'test'"):
            adapter(root, "test")


def test_both_releases_at_once_must_be_chosen_from(tmp_path) -> None:
    drivable(tmp_path, "2021")
    drivable(tmp_path, "2018")
    with pytest.raises(UserError, match=r"labels/drivable/masks and drivable_maps/labels; choose"):
        BDD100KDrivable(tmp_path, "train")
    one, other = (BDD100KDrivable(tmp_path, "train", release=r) for r in ("2021", "2018"))
    np.testing.assert_array_equal(train_ids(one), train_ids(other))
    assert train_ids(one)[0, 0] == 2
    with pytest.raises(UserError, match="unknown release of BDD100KDrivable '2020'"):
        BDD100KDrivable(tmp_path, "train", release="2020")


@pytest.mark.parametrize(("release", "folder"), [("2021", "images/10k"), ("2018", "seg/images")])
def test_images_and_labels_are_of_the_chosen_release(tmp_path, release, folder) -> None:
    sem_seg(tmp_path, "2021")
    sem_seg(tmp_path, "2018")
    images = BDD100K.images(tmp_path, "test", release)
    assert {path.parent for path in images.values()} == {tmp_path / folder / "test"}
    assert set(BDD100K.labels(tmp_path, "val", release)) == set(NAMES)
    with pytest.raises(UserError, match="unknown release of BDD100K '2020'"):
        BDD100K.images(tmp_path, "test", "2020")


def test_no_release_need_be_chosen_without_labels(tmp_path) -> None:
    drivable(tmp_path, "2021")
    drivable(tmp_path, "2018")
    assert sorted(BDD100KDrivable.images(tmp_path, "test")) == list(NAMES)
    assert not BDD100KDrivable.labels(tmp_path, "test")


@pytest.mark.parametrize(
    ("release", "name"), [("2021", f"{NAMES[0]}_drivable_id.png"), ("2018", f"{NAMES[0]}.png")]
)
def test_a_label_named_like_the_other_releases_is_refused(tmp_path, release, name) -> None:
    drivable(tmp_path, release)
    folder = {"2021": "labels/drivable/masks", "2018": "drivable_maps/labels"}[release]
    save_ids(tmp_path / folder / "train" / name, np.zeros((48, 64), np.uint8))
    with pytest.raises(UserError, match=f"{name}: is named like labels of another release"):
        BDD100KDrivable(tmp_path, "train")


def test_an_id_outside_of_the_three_is_refused(tmp_path) -> None:
    for release in ("2021", "2018"):
        drivable(tmp_path / release, release)
        dataset = BDD100KDrivable(tmp_path / release, "val")
        path = Path(dataset.get_data_info(0)["seg_map_path"])
        save_ids(path, np.full((48, 64), 255, np.uint8))
        with pytest.raises(UserError, match=f"{path.name}: ids 255 are not in the dataset's table"):
            train_ids(dataset)


def test_an_image_without_its_label_and_an_empty_folder_are_named(tmp_path) -> None:
    drivable(tmp_path, "2021")
    (tmp_path / SHARED / "train" / f"{NAMES[1]}.jpg").unlink()
    with pytest.raises(UserError, match=f"{NAMES[1]}.png: label without image"):
        BDD100KDrivable(tmp_path, "train")
    (tmp_path / "labels/drivable/masks/val" / f"{NAMES[0]}.png").unlink()
    with pytest.raises(UserError, match=f"{NAMES[0]}.jpg: image without label"):
        BDD100KDrivable(tmp_path, "val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images of split 'train' .*drivable_maps/labels"):
        BDD100KDrivable(tmp_path / "empty", "train")


@pytest.mark.parametrize(("release", "other"), [("2021", "2018"), ("2018", "2021")])
def test_ids_of_the_other_release_are_refused(tmp_path, release, other) -> None:
    """The wrong ids are first in one of two labels of a split, then in both."""
    drivable(tmp_path / "wrong", other)
    drivable(tmp_path / "right", release)
    right, wrong = (
        sorted(BDD100KDrivable.labels(tmp_path / name, "train").values())
        for name in ("right", "wrong")
    )
    for target, source in reversed(list(zip(right, wrong, strict=True))):
        target.write_bytes(source.read_bytes())
        with pytest.raises(UserError, match=f"{target.name}: has the ids of another release"):
            BDD100KDrivable(tmp_path / "right", "train")


SKIPPED = {
    "train": [
        "3d581db5-2564fb7e",
        "52e3fd10-c205dec2",
        "781756b0-61e0a182",
        "78ac84ba-07bd30c2",
    ],
    "val": ["80a9e37d-e4548ac1", "9342e334-33d167eb"],
}
COUNTS = {"train": 7000, "val": 1000}


def download(root: Path, split: str, images: list[str], labels: list[str]) -> None:
    """A split of the 10k images as it is listed, which does not look into the files."""
    for folder, names, suffix in (
        ("images/10k", images, ".jpg"),
        ("labels/sem_seg/masks", labels, ".png"),
    ):
        (root / folder / split).mkdir(parents=True)
        for name in names:
            (root / folder / split / f"{name}{suffix}").touch()


def others(count: int) -> list[str]:
    return [f"{i:08x}-00000000" for i in range(count)]


@pytest.mark.parametrize(("split", "left"), [("train", 6996), ("val", 998)])
def test_pairs_of_differing_size_are_left_out_of_the_10k_images(tmp_path, split, left) -> None:
    names = SKIPPED[split] + others(COUNTS[split] - len(SKIPPED[split]))
    download(tmp_path, split, names, names)
    dataset = BDD100K(tmp_path, split)
    assert (len(dataset), dataset.skipped) == (left, SKIPPED[split])
    used = {Path(dataset.get_data_info(i)["seg_map_path"]).stem for i in range(len(dataset))}
    assert not used & set(SKIPPED[split])
    assert len(BDD100K.images(tmp_path, split)) == COUNTS[split]  # a server takes all


def test_the_zips_of_spring_2021_have_unpaired_files_which_are_left_out(tmp_path, log) -> None:
    """The known defects have no labels there, and two labels no image."""
    alone = ["ff55861e-a06b953c", "ff7b98c7-3cb964ac"]
    pairs = others(998)
    download(tmp_path, "val", SKIPPED["val"] + pairs, pairs + alone)
    dataset = BDD100K(tmp_path, "val")
    assert (len(dataset), dataset.skipped) == (998, SKIPPED["val"] + alone)
    (line,) = warnings(log)
    assert line.startswith("BDD100K val: 2 files in ")
    assert line.endswith("they are skipped: ff55861e-a06b953c, ff7b98c7-3cb964ac")


def test_one_in_a_hundred_of_the_10k_files_may_be_unpaired_and_no_more(tmp_path) -> None:
    for case, (pairs, images, labels, is_refused) in {
        "2 of 200": (198, 1, 1, False),
        "3 of 201": (198, 2, 1, True),
        "1 of 99": (98, 1, 0, True),
        "0 of 99": (99, 0, 0, False),
    }.items():
        extra = [f"ffffffff-{i:08x}" for i in range(images + labels)]
        both = others(pairs)
        download(tmp_path / case, "val", both + extra[:images], both + extra[images:])
        if not is_refused:
            dataset = BDD100K(tmp_path / case, "val")
            assert (len(dataset), dataset.skipped) == (pairs, extra), case
            continue
        with pytest.raises(UserError) as error, refused(case):
            BDD100K(tmp_path / case, "val")
        text = str(error.value)
        most = (pairs + images + labels) // 100
        assert "ffffffff-00000000.jpg: image without label" in text, case
        assert f"at most {most} may lack one of the two" in text, case


def test_files_of_2018_and_of_the_drivable_area_must_be_paired(tmp_path) -> None:
    names = others(200)
    for adapter, images, labels, suffix in (
        (BDD100K, "seg/images", "seg/labels", "_train_id.png"),
        (BDD100KDrivable, "images/100k", "labels/drivable/masks", ".png"),
    ):
        for folder, ending in ((images, ".jpg"), (labels, suffix)):
            (tmp_path / folder / "train").mkdir(parents=True)
            for name in names:
                save_ids(tmp_path / folder / "train" / f"{name}{ending}", np.eye(2, dtype=np.uint8))
        (tmp_path / images / "train" / f"{names[7]}.jpg").unlink()
        with pytest.raises(UserError, match=f"{names[7]}{suffix}: label without image; unpack"):
            adapter(tmp_path, "train")


def test_a_split_of_which_nothing_can_be_used_says_so(tmp_path) -> None:
    download(tmp_path, "val", SKIPPED["val"], SKIPPED["val"])
    with pytest.raises(UserError, match=r"no images of split 'val' in .* can be used, 2 are left"):
        BDD100K(tmp_path, "val")
