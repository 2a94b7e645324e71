"""The training stream does not depend on the number of processes and loader workers."""

import itertools
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from ibnseg.datasets import Cityscapes, StreamSampler
from ibnseg.datasets.sampler import StreamItem

PIPELINE = [
    dict(type="ibnseg.LoadImage"),
    dict(type="ibnseg.LoadLabel"),
    dict(type="ibnseg.RandomScaleAspect", scale=(0.5, 2.0), aspect=(0.8, 1.25)),
    dict(type="mmseg.RandomCrop", crop_size=(24, 24)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="ibnseg.Pack"),
]


def take(sampler, count: int) -> list[StreamItem]:
    return list(itertools.islice(sampler, count))


@pytest.fixture
def of_rank(monkeypatch):
    """A function that makes the sampler of one of several processes."""

    def make(rank: int, world_size: int, size: int = 7, **kwargs) -> StreamSampler:
        monkeypatch.setattr(
            "mmengine.dataset.sampler.get_dist_info", lambda group=None: (rank, world_size)
        )
        return StreamSampler(range(size), **dict(seed=3, **kwargs))

    return make


def test_the_positions_of_samples_count_up_and_carry_the_seed():
    items = take(StreamSampler(range(7), seed=3), 20)
    assert [item.position for item in items] == list(range(20))
    assert {item.seed for item in items} == {3}


def test_every_epoch_is_a_permutation():
    for size in (1, 2, 7):
        indices = [item.index for item in take(StreamSampler(range(size), seed=3), 5 * size)]
        epochs = [indices[i : i + size] for i in range(0, 5 * size, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs), size
        if size == 7:
            assert len({tuple(epoch) for epoch in epochs}) == 5, size


def test_the_order_is_that_of_torchs_generator():
    generator = torch.Generator().manual_seed(3)
    expected = [torch.randperm(7, generator=generator).tolist() for _ in range(2)]
    items = take(StreamSampler(range(7), seed=3), 14)
    assert [item.index for item in items] == expected[0] + expected[1]


def test_without_shuffling_it_runs_in_order():
    items = take(StreamSampler(range(3), shuffle=False, seed=3), 7)
    assert [item.index for item in items] == [0, 1, 2, 0, 1, 2, 0]


def test_another_seed_gives_another_stream():
    first, second = (take(StreamSampler(range(50), seed=s), 50) for s in (3, 4))
    assert [x.index for x in first] != [x.index for x in second]


def test_processes_interleave_to_the_stream_of_one(of_rank):
    for world_size in (2, 3, 8):
        alone = take(of_rank(0, 1), 5 * world_size)
        parts = [take(of_rank(rank, world_size), 5) for rank in range(world_size)]
        assert [item for step in zip(*parts, strict=True) for item in step] == alone, world_size


def test_skipping_continues_the_stream_as_if_never_interrupted(of_rank):
    for world_size in (1, 2):
        for done in (0, 1, 6, 7, 15):
            rank = world_size - 1
            whole = take(of_rank(rank, world_size), done + 10)
            resumed = of_rank(rank, world_size)
            resumed.skip(done)
            assert take(resumed, 10) == whole[done:], (world_size, done)


@pytest.fixture(scope="module")
def dataset(data):
    return Cityscapes(data / "cityscapes", "train", pipeline=PIPELINE)


def batches(dataset, workers: int, count: int = 3, done: int = 0) -> list[tuple]:
    sampler = StreamSampler(dataset, seed=3)
    sampler.skip(done)
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context="fork" if workers else None,
    )
    return [
        (
            torch.stack(batch["inputs"]),
            torch.stack([sample.gt_sem_seg.data for sample in batch["data_samples"]]),
            [sample.img_path for sample in batch["data_samples"]],
        )
        for batch in itertools.islice(loader, count)
    ]


@pytest.fixture(scope="module")
def alone(dataset):
    random.seed(0)
    np.random.seed(0)
    return batches(dataset, workers=0)


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels, paths), (images2, labels2, paths2) in zip(first, second, strict=True):
        assert paths == paths2
        assert torch.equal(images, images2)
        assert torch.equal(labels, labels2)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_augmented_batches_do_not_depend_on_workers_or_global_state(dataset, alone, workers):
    random.seed(100 + workers)
    np.random.seed(100 + workers)
    torch.manual_seed(100 + workers)
    assert_same(batches(dataset, workers), alone)


def test_augmented_batches_go_on_after_an_interruption(dataset, alone):
    assert_same(batches(dataset, workers=0, count=2, done=4), alone[1:])


def test_an_image_is_augmented_anew_each_epoch(alone):
    # the four images of the split are one batch: each epoch shows the same paths, other pixels
    (images, _, paths), (images2, _, paths2), _ = alone
    assert sorted(paths) == sorted(paths2)
    assert len(set(paths)) == 4
    for path in paths:
        first, second = images[paths.index(path)], images2[paths2.index(path)]
        assert not torch.equal(first, second)
