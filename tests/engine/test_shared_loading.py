"""Samples of several tests of the same files against those of each test alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from ibnseg.datasets import Cityscapes
from ibnseg.datasets.transforms import loading
from ibnseg.engine.shared_loading import LOADING, shared_loader, what_is_loaded
from ibnseg.engine.testing import pack_steps, view_steps
from ibnseg.evaluation.protocols import View

VIEWS = (
    View(),
    View(both=("half", None), interpolation="bilinear"),
    View(crop=(48, 32), image=("times", 0.5)),
)


def pipelines() -> list[list[dict]]:
    shows = [[*view_steps(view), *pack_steps(())] for view in VIEWS]
    shows.append([*view_steps(View()), *pack_steps((0.5, 1.0))])
    return [[*LOADING, *show] for show in shows]


@pytest.fixture
def datasets(data: Path) -> list[Cityscapes]:
    return [
        Cityscapes(data_root=str(data / "cityscapes"), split="val", pipeline=steps, test_mode=True)
        for steps in pipelines()
    ]


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that transforms read, in order."""
    read = []
    for name in ("read_image", "read_label", "read_instances"):
        function = getattr(loading, name)

        def noted(path: str, *args: object, function=function) -> object:
            read.append(path)
            return function(path, *args)

        monkeypatch.setattr(loading, name, noted)
    return read


def test_samples_are_those_of_each_test_alone_and_files_are_read_once(datasets, files_read) -> None:
    alone = [[dataset[i] for i in range(len(dataset))] for dataset in datasets]
    files_read.clear()
    loader = shared_loader([DataLoader(dataset, batch_size=2) for dataset in datasets])
    found = list(loader)
    assert len(files_read) == len(set(files_read)) == 3 * len(datasets[0])
    assert [len(batch[0]["inputs"]) for batch in found] == [2, 2, 1]
    for k, samples in enumerate(alone[:-1]):
        together = [
            (image, sample)
            for batch in found
            for image, sample in zip(batch[k]["inputs"], batch[k]["data_samples"], strict=True)
        ]
        for sample, (image, own) in zip(samples, together, strict=True):
            assert torch.equal(image, sample["inputs"])
            assert_same(own, sample["data_samples"])
    first = found[0][-1]  # augmented: for each view a list of its images
    for view, images in enumerate(first["inputs"]):
        assert torch.equal(images[0], alone[-1][0]["inputs"][view])
        assert_same(first["data_samples"][view][0], alone[-1][0]["data_samples"][view])


def assert_same(found, expected) -> None:
    assert found.metainfo == expected.metainfo
    assert found.keys() == expected.keys()
    for key, pixels in expected.items():
        assert torch.equal(found.get(key).data, pixels.data), key


def test_only_tests_of_the_same_files_and_classes_share_them() -> None:
    def loader(pipeline: list[dict], batch_size: int = 1, **dataset: object) -> dict:
        return dict(batch_size=batch_size, dataset=dict(dataset, pipeline=pipeline))

    first, second, *_ = pipelines()
    own = what_is_loaded(loader(first, split="val"))
    assert what_is_loaded(loader(second, split="val")) == own
    assert what_is_loaded(loader(first, split="test")) != own
    assert what_is_loaded(loader(first, split="val", class_map="16")) != own
    assert what_is_loaded(loader(first, 2, split="val")) != own
