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
