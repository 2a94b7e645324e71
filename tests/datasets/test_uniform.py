"""The places of classes are indexed, and a stream shows each class equally often."""

import io
import itertools
import multiprocessing
import shutil
from collections import Counter
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from ibnseg.datasets import GTA5, Cityscapes, ClassUniformSampler, StreamSampler
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.sampler import StreamItem
from ibnseg.datasets.stretches import stretches
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.datasets.uniform import (
    TILE,
    cached_class_index,
    class_centroids,
    class_index,
    index_file,
)
from ibnseg.support.errors import UserError
from tests.conftest import GTA5_TRAIN, HEIGHT, WIDTH, save_ids, scene, write_gta5

SCENE = ("road", "building", "sky", "car")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(data: Path) -> GTA5:
    return GTA5(data / "gta5", "train")


def take(sampler: StreamSampler, count: int) -> list[StreamItem]:
    return list(itertools.islice(sampler, count))


def centroids(label: np.ndarray, tile: int = TILE) -> np.ndarray:
    return class_centroids(stretches(label, tile))


# --- centroids ---


def test_each_class_has_a_centroid_in_each_tile() -> None:
    """Tiles of 4: the right column and the lowest row are in none."""
    label = np.full((9, 9), 255, np.uint8)
    label[0, 0:2] = 3  # x 0 and 1: mean 0.5, down to 0
    label[1:4, 3] = 5  # y 1, 2, 3
    label[6, 5] = 3  # of another tile
    label[8] = label[:, 8] = 7  # in none
    label[4:8, 0:4] = 11  # all of a tile: mean 1.5 and 5.5
    assert centroids(label, tile=4).tolist() == [[3, 0, 0], [5, 3, 2], [11, 1, 5], [3, 5, 6]]


def test_a_small_image_is_one_tile() -> None:
    label = np.zeros((3, 9), np.uint8)
    assert centroids(label, tile=4).tolist() == [[0, 1, 1], [0, 5, 1]]
    assert centroids(label).tolist() == [[0, 4, 1]]


def test_the_left_tile_of_a_gta5_image_is_searched() -> None:
    label = np.full((1052, 1914), 255, np.uint8)
    label[1023, 1023], label[:, 1024:], label[1024:] = 2, 4, 4
    assert centroids(label).tolist() == [[2, 1023, 1023]]


def test_a_label_without_classes_has_no_centroids() -> None:
    assert centroids(np.full((5, 5), 255, np.uint8), tile=4).shape == (0, 3)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.uint8,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
        elements=st.sampled_from([0, 1, 17, 18, 254, 255]),
    ),
    st.integers(1, 16),
)
def test_centroids_are_the_means_of_their_pixels(label: np.ndarray, tile: int) -> None:
    found = {tuple(row) for row in centroids(label, tile).tolist()}
    expected = set()
    height, width = label.shape
    for row, column in itertools.product(
        range(max(1, height // tile)), range(max(1, width // tile))
    ):
        for class_ in {*label.ravel().tolist()} - {255}:
            pixels = [
                (x, y)
                for y in range(row * tile, min(height, row * tile + tile))
                for x in range(column * tile, min(width, column * tile + tile))
                if label[y, x] == class_
            ]
            if pixels:
                x, y = (sum(at) // len(pixels) for at in zip(*pixels, strict=True))
                expected.add((class_, x, y))
    assert found == expected


# --- the index ---


def test_the_index_covers_all_images(dataset: GTA5) -> None:
    index = class_index(dataset)
    assert index.dtype == np.int32
    expected = [
        [class_, i, x, y]
        for i, frame in enumerate(GTA5_TRAIN)
        for class_, x, y in centroids(scene(frame)[1]).tolist()
    ]
    assert index.tolist() == expected
    assert {CLASSES[i] for i in index[:, 0]} == set(SCENE)


def test_the_index_is_made_once_for_all_copies_of_the_data(
    dataset: GTA5, data: Path, tmp_path: Path, monkeypatch
) -> None:
    """A copy of the data elsewhere finds it; nothing is left beside it."""
    first = cached_class_index(dataset)
    shutil.copytree(data / "gta5", tmp_path / "copy")
    monkeypatch.setattr("ibnseg.datasets.uniform.class_index", None)  # is not called
    np.testing.assert_array_equal(cached_class_index(GTA5(tmp_path / "copy", "train")), first)
    assert list(index_file(dataset).parent.glob("*.npy")) == [index_file(dataset)]


def test_index_depends_on_data_classes_and_tile(dataset: GTA5, data: Path, tmp_path: Path) -> None:
    class Other(GTA5):
        LABEL_IDS = {**GTA5.LABEL_IDS, 7: 255}

    write_gta5(tmp_path / "fewer", GTA5_TRAIN[1:])
    write_gta5(tmp_path / "changed", GTA5_TRAIN)
    noise = np.random.default_rng(0).integers(0, 34, (HEIGHT, WIDTH), np.uint8)
    save_ids(tmp_path / "changed/labels/00002.png", noise)
    datasets = [
        dataset,
        GTA5(data / "gta5", "val"),
        GTA5(data / "gta5", "train", subset="quarter"),
        GTA5(tmp_path / "fewer", "train"),
        GTA5(tmp_path / "changed", "train"),
        Other(data / "gta5", "train"),
        Cityscapes(data / "cityscapes", "train"),
    ]
    files = [index_file(each) for each in datasets] + [index_file(dataset, tile=512)]
    assert len(set(files)) == len(files)


def test_index_depends_on_the_class_map_in_use(data: Path, cache: Path) -> None:
    """The pole group, 18, is ignored by id and a pole by colour."""
    root = data / "gta5"
    by_id, by_color = (GTA5(root, "val", class_map=name) for name in (None, "by_color"))
    assert index_file(by_id) != index_file(by_color)


def test_a_damaged_index_is_made_anew(dataset: GTA5) -> None:
    expected = cached_class_index(dataset)
    others = []
    for array in (expected[:, :3], expected.astype(float), expected + 200, -expected):
        buffer = io.BytesIO()
        np.save(buffer, array)
        others.append(buffer.getvalue())
    for content in (b"", b"\x93NUMPY", b"no array", *others):
        index_file(dataset).write_bytes(content)
        np.testing.assert_array_equal(cached_class_index(dataset), expected, err_msg=str(content))
        np.testing.assert_array_equal(np.load(index_file(dataset)), expected, err_msg=str(content))


def test_what_a_killed_process_left_of_the_index_goes(dataset: GTA5) -> None:
    file = index_file(dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    left = file.with_name(f".{file.stem}-a1b2c3d4.tmp.npy")
    left.touch()
    cached_class_index(dataset)
    assert file.exists()
    assert not left.exists()


def test_without_a_place_to_keep_it_the_index_is_made(
    dataset: GTA5, tmp_path: Path, monkeypatch, capsys
) -> None:
    expected = class_index(dataset)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    np.testing.assert_array_equal(cached_class_index(dataset), expected)


def test_a_failed_index_leaves_no_file(data: Path, tmp_path: Path, cache: Path) -> None:
    write_gta5(tmp_path / "gta5", GTA5_TRAIN)
    label = tmp_path / "gta5/labels/00005.png"
    label.write_bytes(label.read_bytes()[:50])
    with pytest.raises(UserError, match=r"00005\.png: truncated"):
        cached_class_index(GTA5(tmp_path / "gta5", "train"))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_workers_find_the_same_classes_and_the_same_damage(dataset: GTA5, monkeypatch) -> None:
    expected = class_index(dataset)
    monkeypatch.setattr("ibnseg.datasets.every_label.LEAST", 1)
    monkeypatch.setattr("ibnseg.datasets.every_label.CHUNK", 1)
    np.testing.assert_array_equal(class_index(dataset, workers=2), expected)
    monkeypatch.setattr(dataset, "label_ids", {0: 255})
    with pytest.raises(UserError, match=r"^\S+\.png: ids .* are not in the dataset's table"):
        class_index(dataset, workers=2)


def _index_of(rank: int, root: Path, store: Path, found: SimpleQueue) -> None:
    """One of two processes: the index, made and read again, and how many labels were read here."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    read, load = [], LoadLabel.stretches
    LoadLabel.stretches = lambda *args: read.append(args) or load(*args)
    dataset = GTA5(root, "train")
    made = cached_class_index(dataset)
    found.put((len(read), made, cached_class_index(dataset), len(read)))


def test_each_of_several_processes_searches_its_share_once(
    dataset: GTA5, data: Path, tmp_path: Path
) -> None:
    expected = class_index(dataset)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    started = [
        context.Process(target=_index_of, args=(rank, data / "gta5", tmp_path / "store", queue))
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for _ in started:
        count, made, again, later = queue.get()
        assert count == later == len(GTA5_TRAIN) / 2
        np.testing.assert_array_equal(made, expected)
        np.testing.assert_array_equal(again, expected)
    for process in started:
        process.join()


# --- the stream ---


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_all_classes_are_drawn_equally_often(dataset: GTA5, share: float) -> None:
    """Of many positions the share is class-uniform, each class has its part, and in it each
    place: all within four standard deviations."""
    count = 20000
    items = take(ClassUniformSampler(dataset, share, seed=3), count)
    index = class_index(dataset)
    owners = {(i, x, y): class_ for class_, i, x, y in index.tolist()}
    assert len(owners) == len(index)  # no two classes share a centroid here
    drawn = Counter((item.index, *item.centroid) for item in items if item.centroid)
    uniform = sum(drawn.values())
    assert abs(uniform - share * count) <= 4 * (share * (1 - share) * count) ** 0.5
    assert drawn.keys() == owners.keys()
    by_class = Counter()
    for place, times in drawn.items():
        by_class[owners[place]] += times
    for parts, of in ((by_class, 4), (drawn, 4 * len(GTA5_TRAIN))):
        assert len(parts) == of
        bound = 4 * (uniform / of * (1 - 1 / of)) ** 0.5
        assert all(abs(times - uniform / of) < bound for times in parts.values())


def test_a_rare_class_is_as_frequent_as_any(dataset: GTA5, monkeypatch) -> None:
    index = np.array([[0, 0, 1, 1]] + [[5, i % 8, i, 2] for i in range(99)], np.int32)
    monkeypatch.setattr("ibnseg.datasets.uniform.cached_class_index", lambda *_, **__: index)
    items = take(ClassUniformSampler(dataset, 1.0, seed=0), 2000)
    rare = sum(item.centroid == (1, 1) for item in items)
    assert abs(rare - 1000) < 4 * 500**0.5


def test_the_other_positions_are_those_of_the_plain_stream(dataset: GTA5) -> None:
    plain = take(StreamSampler(dataset, seed=3), 200)
    items = take(ClassUniformSampler(dataset, 0.5, seed=3), 200)
    assert [item.position for item in items] == list(range(200))
    others = [item for item in items if item.centroid is None]
    assert 60 < len(others) < 140
    assert others == [plain[item.position] for item in others]


def test_processes_interleave_and_go_on_after_an_interruption(dataset: GTA5, monkeypatch) -> None:
    alone = take(ClassUniformSampler(dataset, 0.5, seed=3), 36)
    for world_size in (1, 2, 3):
        parts = []
        for rank in range(world_size):
            monkeypatch.setattr(
                "mmengine.dataset.sampler.get_dist_info",
                lambda group=None, at=(rank, world_size): at,
            )
            parts.append(take(ClassUniformSampler(dataset, 0.5, seed=3), 12))
            resumed = ClassUniformSampler(dataset, 0.5, seed=3)
            resumed.skip(5)
            assert take(resumed, 7) == parts[-1][5:], world_size
        found = [item for step in zip(*parts, strict=True) for item in step]
        assert found == alone[: 12 * world_size], world_size


def test_another_seed_gives_another_stream(dataset: GTA5) -> None:
    first, second = (take(ClassUniformSampler(dataset, 1.0, seed=s), 20) for s in (3, 4))
    assert [item.centroid for item in first] != [item.centroid for item in second]


def test_labels_without_any_class_are_refused(dataset: GTA5, monkeypatch) -> None:
    monkeypatch.setattr(
        "ibnseg.datasets.uniform.cached_class_index", lambda *_, **__: np.empty((0, 4), np.int32)
    )
    with pytest.raises(UserError, match="class_uniform is 0.5, but no label has a pixel"):
        ClassUniformSampler(dataset, 0.5, seed=0)


PIPELINE = [
    dict(type="ibnseg.LoadImage"),
    dict(type="ibnseg.LoadLabel"),
    dict(
        type="ibnseg.RandomScaleAspect",
        scale=(0.5, 2.0),
        aspect=(1.0, 1.0),
        sampling="uniform",
        interpolation="bicubic",
    ),
    dict(type="ibnseg.CropAround", crop_size=(16, 16)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="ibnseg.ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    dict(type="ibnseg.GaussianBlur", sigma=(0.15, 1.3)),
    dict(type="ibnseg.Pack"),
]


def test_crops_show_the_class_they_are_drawn_for(data: Path) -> None:
    """Of a car, whose centroid is always its own: every crop has some of it."""
    dataset = GTA5(data / "gta5", "train", pipeline=PIPELINE)
    car = CLASSES.index("car")
    sampler = ClassUniformSampler(dataset, 1.0, seed=0)
    index = class_index(dataset)
    cars = {(i, x, y) for class_, i, x, y in index.tolist() if class_ == car}
    items = [item for item in take(sampler, 300) if (item.index, *item.centroid) in cars]
    assert len(items) > 40
    for item in items:
        label = dataset[item]["data_samples"].gt_sem_seg.data
        assert label.shape[1:] == (16, 16)
        assert (label == car).any()


def batches(dataset: GTA5, workers: int, done: int = 0) -> list[dict]:
    sampler = ClassUniformSampler(dataset, 0.5, seed=3)
    sampler.skip(done)
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context="fork" if workers else None,
    )
    return list(itertools.islice(loader, 3))


def test_samples_depend_on_seed_and_position_alone(data: Path) -> None:
    dataset = GTA5(data / "gta5", "train", pipeline=PIPELINE)
    alone = batches(dataset, workers=0)
    np.random.seed(99)
    for others, kept in ((batches(dataset, workers=2), alone), (batches(dataset, 0, 4), alone[1:])):
        for found, expected in zip(others, kept, strict=False):
            for a, b in zip(found["inputs"], expected["inputs"], strict=True):
                assert (a == b).all()
            for a, b in zip(found["data_samples"], expected["data_samples"], strict=True):
                assert (a.gt_sem_seg.data == b.gt_sem_seg.data).all()


def test_sizes_are_compared_before_the_classes_are_searched(tmp_path: Path, cache: Path) -> None:
    write_gta5(tmp_path / "gta5")
    dataset = GTA5(tmp_path / "gta5", "train")
    save_ids(Path(dataset.get_data_info(1)["seg_map_path"]), np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match="label of 7x5 for an image of"):
        ClassUniformSampler(dataset, 0.5)
    assert not cache.exists()
