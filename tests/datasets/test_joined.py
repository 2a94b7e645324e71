"""Several training domains as one dataset, by size or by shares."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ibnseg.datasets.balance import class_counts
from ibnseg.datasets.joined import JoinedDomains, ShareSampler
from ibnseg.datasets.sampler import StreamItem
from ibnseg.datasets.uniform import cached_class_index
from tests.conftest import GTA5_TRAIN


@pytest.fixture
def joined(data: Path) -> JoinedDomains:
    """Eight images of GTA5, then four of Cityscapes, each resized in its own way."""
    return JoinedDomains(
        [
            dict(
                type=f"ibnseg.{adapter}",
                data_root=str(data / folder),
                split="train",
                pipeline=[
                    dict(type="ibnseg.LoadImage"),
                    dict(type="ibnseg.RescaleImage", rule="exact", to=size),
                ],
            )
            for adapter, folder, size in (
                ("GTA5", "gta5", (32, 24)),
                ("Cityscapes", "cityscapes", (16, 8)),
            )
        ]
    )


def sampler_of(
    rank: int, world_size: int, monkeypatch: pytest.MonkeyPatch, **kwargs
) -> ShareSampler:
    monkeypatch.setattr(
        "mmengine.dataset.sampler.get_dist_info", lambda group=None: (rank, world_size)
    )
    return ShareSampler(**kwargs)


def take(sampler: ShareSampler, count: int) -> list[StreamItem]:
    return list(itertools.islice(sampler, count))


def test_every_image_goes_through_the_pipeline_of_its_own_domain(joined: JoinedDomains) -> None:
    assert len(joined) == len(GTA5_TRAIN) + 4
    for index in range(len(joined)):
        is_gta5 = index < len(GTA5_TRAIN)
        for item in (index, StreamItem(index, 3, 0)):
            sample = joined[item]
            assert sample["img"].shape == ((24, 32, 3) if is_gta5 else (8, 16, 3))
            assert ("/gta5/" in sample["img_path"]) == is_gta5
        assert joined.get_data_info(index)["img_path"] == joined[index]["img_path"]
    names = {joined[index]["img_path"] for index in range(len(joined))}
    assert len(names) == len(joined)


def test_shares_decide_how_often_a_domain_is_shown(joined: JoinedDomains) -> None:
    """Three quarters of the crops come from the smaller domain; of a domain, each image comes once
    before one comes again."""
    count = 4000
    items = take(ShareSampler(joined, [0.25, 0.75], seed=1), count)
    indices = np.array([item.index for item in items])
    small = indices[indices >= 8]
    deviation = (0.25 * 0.75 * count) ** 0.5
    assert abs(len(small) - 0.75 * count) < 4 * deviation
    for own in (indices[indices < 8], small):
        size = len(set(own.tolist()))
        rounds = own[: len(own) // size * size].reshape(-1, size)
        assert all(len(set(each)) == size for each in rounds.tolist())
    assert set(Counter(indices.tolist())) == set(range(12))


def test_the_stream_depends_on_the_seed_alone(joined: JoinedDomains) -> None:
    one, same = (take(ShareSampler(joined, [0.5, 0.5], seed=4), 100) for _ in range(2))
    other = take(ShareSampler(joined, [0.5, 0.5], seed=5), 100)
    assert one == same
    assert [item.index for item in one] != [item.index for item in other]
    assert [item.position for item in one] == list(range(100))
    assert {item.seed for item in one} == {4}


def test_processes_share_one_stream(joined: JoinedDomains, monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(dataset=joined, shares=[0.3, 0.7], seed=2)
    whole = take(ShareSampler(**given), 60)
    for world_size in (2, 3):
        parts = [
            take(sampler_of(rank, world_size, monkeypatch, **given), 60 // world_size)
            for rank in range(world_size)
        ]
        found = [item for together in zip(*parts, strict=True) for item in together]
        assert found == whole, world_size


def test_what_is_counted_is_the_joined_data(
    joined: JoinedDomains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of classes, for class_balance, and places of classes, for class_uniform."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    np.testing.assert_array_equal(class_counts(joined), sum(map(class_counts, joined.datasets)))
    index = cached_class_index(joined)
    first, second = map(cached_class_index, joined.datasets)
    np.testing.assert_array_equal(index[: len(first)], first)
    np.testing.assert_array_equal(index[len(first) :] - [0, 8, 0, 0], second)
