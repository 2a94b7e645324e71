"""Adapters pair files, take subsets and check tables; their randomness is that of the stream."""

import itertools
import random
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ibnseg.datasets import GTA5, CamVid, Cityscapes
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import IGNORE, ClassSet
from ibnseg.datasets.sampler import StreamItem
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.datasets.conftest import warnings

ADAPTERS = {"gta5": GTA5, "cityscapes": Cityscapes, "camvid": CamVid}


class Listed(DrivingDataset):
    """A dataset of so many pairs that are on no disk."""

    LAYOUT = "none"
    SPLITS = ("train",)
    LABEL_IDS = {0: 0}

    def __init__(self, *args, count: int, **kwargs):
        self.count = count
        super().__init__(*args, **kwargs)

    def pairs(self, root):
        names = [f"{i:05d}" for i in range(self.count)]
        # not in order, as a file system may list them
        return (
            {name: root / f"{name}.png" for name in reversed(names)},
            {name: root / f"{name}_label.png" for name in names},
        )


def chosen(root: Path, count: int, subset: str) -> list[int]:
    dataset = Listed(root, "train", count=count, subset=subset)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    stems = [Path(info["img_path"]).stem for info in infos]
    assert [Path(info["seg_map_path"]).stem for info in infos] == [f"{s}_label" for s in stems]
    return [int(stem) for stem in stems]


def test_full_subset_is_everything_in_order(tmp_path):
    assert chosen(tmp_path, 40, "full") == list(range(40))


def test_quarter_is_a_fixed_choice_whatever_the_global_random_state(tmp_path):
    for seed in (1, 2):
        np.random.seed(seed)
        assert chosen(tmp_path, 40, "quarter") == [4, 10, 11, 15, 18, 20, 22, 25, 28, 29]


def test_quarter_of_gta5s_12402_training_images(tmp_path):
    indices = chosen(tmp_path, 12402, "quarter")
    assert len(indices) == 3100
    assert indices[:8] == [9, 14, 16, 18, 31, 33, 36, 37]
    assert indices[-4:] == [12387, 12388, 12397, 12401]
    assert sum(indices) == 19363352


def test_quarter_is_a_quarter_in_size_and_never_empty(tmp_path):
    for count, size in ((1, 1), (3, 1), (4, 1), (7, 1), (8, 2), (2975, 743)):
        indices = chosen(tmp_path, count, "quarter")
        assert len(set(indices)) == len(indices) == size
        assert set(indices) <= set(range(count))


def test_an_unknown_subset_suggests_the_nearest(data):
    with pytest.raises(UserError, match="unknown subset 'quartre'; did you mean quarter"):
        Cityscapes(data / "cityscapes", "train", subset="quartre")


def test_an_unknown_split_suggests_the_nearest(data):
    for name, adapter in ADAPTERS.items():
        with pytest.raises(UserError, match=f"{adapter.__name__} 'trian'; did you mean train"):
            adapter(data / name, "trian")


def test_a_missing_or_empty_root_names_folder_and_layout(tmp_path):
    (tmp_path / "file").write_text("")
    for adapter in ADAPTERS.values():
        for root, wrong in (
            (tmp_path / "nowhere", "no folder"),
            (tmp_path / "file", "no folder"),
            (tmp_path, "no images of split 'val'"),
        ):
            with pytest.raises(UserError, match=wrong) as error:
                adapter(root, "val")
            assert str(root) in str(error.value)
            assert adapter.LAYOUT in str(error.value)


def test_an_image_without_its_label_or_the_reverse_is_named(data, tmp_path):
    halves = {"img_path": "label without image", "seg_map_path": "image without label"}
    for name, (removed, wrong) in itertools.product(ADAPTERS, halves.items()):
        root = tmp_path / name / removed
        shutil.copytree(data / name, root)
        info = ADAPTERS[name](root, "train").get_data_info(1)
        Path(info[removed]).unlink()
        with pytest.raises(UserError) as error:
            ADAPTERS[name](root, "train")
        kept = info["seg_map_path" if removed == "img_path" else "img_path"]
        assert f"{kept}: {wrong};" in str(error.value)
        assert "more" not in str(error.value)


def test_several_images_or_labels_without_the_other_are_counted(data, tmp_path):
    shutil.copytree(data / "cityscapes", tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "gtFine" / "train" / "aachen")
    with pytest.raises(UserError, match=r"aachen_000000_.*image without label \(and 1 more\)"):
        Cityscapes(tmp_path / "c", "train")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("gtFine", "images but no labels of split 'train' in .*; expected the layout left"),
        ("leftImg8bit", "labels but no images of split 'train' in .*; expected the layout left"),
    ],
)
def test_half_a_download_is_refused_with_the_layout(data, tmp_path, removed, message):
    shutil.copytree(data / "cityscapes", tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / removed / "train")
    with pytest.raises(UserError, match=message):
        Cityscapes(tmp_path / "c", "train")


def test_data_one_folder_too_high_or_too_low_is_found(data):
    place = data / "cityscapes"
    for root in (data, place / "gtFine"):
        with pytest.raises(UserError, match=f"; {place} has it, so give this folder"):
            Cityscapes(root, "val")


def test_another_number_of_images_than_the_official_one_is_reported_once(data, log):
    class Counted(Cityscapes):
        COUNTS = {"train": 2975, "val": 5}

    for _ in range(2):
        for split in ("train", "val"):
            Counted(data / "cityscapes", split)
    message = f"4 labelled images in {data / 'cityscapes'}, 2975 in the whole download"
    assert [text for text in warnings(log) if "labelled" in text] == [f"Counted train: {message}"]


def test_the_samples_carry_the_datasets_tables(data):
    for name, cls in ADAPTERS.items():
        info = cls(data / name, "train").get_data_info(0)
        assert info["label_ids"] == cls.LABEL_IDS
        assert info["label_colors"] == cls.LABEL_COLORS
        assert info["seg_fields"] == []


FOUR = ClassSet("four", ("a", "b", "c", "d"), ((0, 0, 0),) * 4, background="d")


def test_an_adapter_has_classes_of_its_own(tmp_path):
    """Their names and colours are the dataset's, in order of train id."""

    class Own(Listed):
        CLASS_SET = FOUR._replace(palette=((9, 8, 7), (0, 1, 2), (3, 3, 3), (4, 4, 4)))
        LABEL_IDS = {0: 3, 9: 0, 255: IGNORE}

    meta = Own(tmp_path, "train", count=1).metainfo
    assert meta["classes"] == ("a", "b", "c", "d")
    assert meta["palette"][0] == (9, 8, 7)
    assert Own.labelled_classes() == ("a", "d")


@pytest.mark.parametrize(
    ("tables", "wrong"),
    [
        (dict(LABEL_IDS={0: 4}), "LABEL_IDS maps 0 to 4, expected a train id from 0 to 3 of cl"),
        (dict(LABEL_IDS={0: -1}), "LABEL_IDS maps 0 to -1"),
        (dict(LABEL_IDS={256: 0}), "LABEL_IDS has the id 256, expected 0 to 255"),
        (dict(LABEL_COLORS={(1, 2, 3): 254}), r"LABEL_COLORS maps \(1, 2, 3\) to 254"),
        (dict(CLASS_MAPS={"other": {-1: 0}}), "other has the id -1"),
        (dict(CLASS_SET=FOUR._replace(palette=((0, 0, 0),))), "4 classes, 1 colours"),
        (dict(CLASS_SET=FOUR._replace(background="e")), "background e; expected"),
    ],
)
def test_tables_that_do_not_fit_the_classes_are_refused(tmp_path, tables, wrong):
    own = type("Own", (Listed,), {"CLASS_SET": FOUR, "LABEL_IDS": {0: 3, 1: IGNORE}, **tables})
    with pytest.raises(UserError, match=f"Own: .*{wrong}"):
        own(tmp_path, "train", count=1)


@pytest.mark.parametrize("registry", [DATASETS, DATASETS.parent], ids=["ibnseg's", "mmengine's"])
def test_an_adapter_of_ones_own_is_found_by_its_type(registry, monkeypatch):
    """Whichever of the two registries it was registered in."""
    monkeypatch.setitem(registry.module_dict, "Lister", Listed)
    domain = Domains()["gta5"]
    assert replace(domain, dataset=dict(type="Lister")).adapter is Listed
    with pytest.raises(UserError, match="dataset type of domain 'gta5' 'Listre'; .*Lister"):
        replace(domain, dataset=dict(type="Listre")).adapter  # noqa: B018


def test_a_dataset_that_is_no_adapter_is_refused_as_one(monkeypatch):
    monkeypatch.setitem(DATASETS.module_dict, "Plain", dict)
    domain = replace(Domains()["gta5"], dataset=dict(type="Plain"))
    with pytest.raises(UserError, match="Plain of domain 'gta5' is not a subclass of ibnseg.data"):
        domain.class_set  # noqa: B018


def draw(results: dict) -> dict:
    """A transform that shows the randomness it is given."""
    return dict(
        path=results["img_path"],
        python=[random.random() for _ in range(3)],
        numpy=np.random.rand(3).tolist(),
    )


def drawing(root: Path) -> Listed:
    return Listed(root, "train", count=5, pipeline=[draw])


def test_stream_item_decides_the_randomness_alone(tmp_path):
    dataset, item = drawing(tmp_path), StreamItem(index=2, position=7, seed=3)
    random.seed(0)
    np.random.seed(0)
    first = dataset[item]
    random.seed(1)
    np.random.seed(1)
    dataset[StreamItem(4, 8, 3)]
    assert dataset[item] == first
    assert Path(first["path"]).stem == "00002"


def test_stream_items_differ_by_position_and_by_seed_but_not_by_index(tmp_path):
    dataset = drawing(tmp_path)
    items = [StreamItem(0, p, s) for p in range(4) for s in range(4)]  # (1, 2) is not (2, 1)
    assert len({tuple(dataset[item]["numpy"]) for item in items}) == 16
    assert len({tuple(dataset[item]["python"]) for item in items}) == 16
    assert dataset[StreamItem(1, 7, 3)]["numpy"] == dataset[StreamItem(2, 7, 3)]["numpy"]


def test_stream_item_leaves_the_global_random_state_untouched(tmp_path):
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    drawing(tmp_path)[StreamItem(0, 0, 0)]
    assert (random.random(), np.random.rand()) == expected


def test_global_random_state_is_restored_after_a_failing_transform(tmp_path):
    def fail(results):
        draw(results)
        raise UserError("broken file")

    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with pytest.raises(UserError, match="broken file"):
        Listed(tmp_path, "train", count=1, pipeline=[fail])[StreamItem(0, 0, 0)]
    assert (random.random(), np.random.rand()) == expected


def test_plain_index_draws_from_the_global_state(tmp_path):
    dataset = drawing(tmp_path)
    np.random.seed(5)
    expected = np.random.rand(3).tolist()
    np.random.seed(5)
    assert dataset[1]["numpy"] == expected


class Defective(Listed):
    """Of ten listed pairs, two are known not to be usable."""

    DEFECTS = {"00003": "of another place", "00007": "of another size", "00999": "not there"}


def test_any_adapter_can_list_pairs_that_cannot_be_used(tmp_path):
    dataset = Defective(tmp_path, "train", count=10)
    stems = [Path(dataset.get_data_info(i)["img_path"]).stem for i in range(len(dataset))]
    assert stems == ["00000", "00001", "00002", "00004", "00005", "00006", "00008", "00009"]
    assert dataset.skipped == ["00003", "00007"]
    quarter = Defective(tmp_path, "train", count=10, subset="quarter")
    assert (len(quarter), quarter.skipped) == (2, ["00003", "00007"])


class InRed(Listed):
    """Labels as SYNTHIA has them: 16 bits, the class in red and the instance in green."""

    LABEL_IDS = {3: 0, 200: 13, 0: IGNORE}
    LABEL_CHANNEL = "red"


def test_ids_are_read_from_the_channel_that_the_adapter_names(tmp_path):
    ids = np.array([[3, 200, 0], [0, 3, 3]])
    label = np.stack([0 * ids, 1000 + 0 * ids, ids], axis=-1)  # OpenCV's order: blue, green, red
    cv2.imwrite(str(tmp_path / "00000_label.png"), label.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "00000.png"), np.zeros((2, 3, 3), np.uint8))
    steps = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
    sample = InRed(tmp_path, "train", count=1, pipeline=steps)[0]
    assert sample["gt_seg_map"].tolist() == [[0, 13, 255], [255, 0, 0]]
    with pytest.raises(UserError, match=r"00000_label.png: label has several channels of 16 bits"):
        Listed(tmp_path, "train", count=1, pipeline=steps)[0]


def test_a_channel_that_does_not_exist_is_refused(tmp_path):
    class Wrong(InRed):
        LABEL_CHANNEL = "rde"

    with pytest.raises(UserError, match=r"unknown LABEL_CHANNEL of Wrong 'rde'; did you mean red"):
        Wrong(tmp_path, "train", count=1)
