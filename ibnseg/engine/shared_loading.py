"""Loads the files of an image once for several tests, each of which shows it in its own way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from ibnseg.datasets.base import DrivingDataset

LOADING = (
    dict(type="ibnseg.LoadImage"),
    dict(type="ibnseg.LoadLabel"),
    dict(type="ibnseg.LoadInstances"),
)
"""The first steps of a test's pipeline; the further ones show what they have loaded."""


class SharedSamples(Dataset):
    """The samples of several tests of the same files; each item is a list with one for each test.

    Args:
        datasets: one of each test, alike but for the steps of their pipelines after
            :data:`LOADING`.
    """

    def __init__(self, datasets: Sequence[DrivingDataset]) -> None:
        self.loading = datasets[0]
        self.steps = self.loading.pipeline.transforms[: len(LOADING)]
        self.shows = [Compose(dataset.pipeline.transforms[len(LOADING) :]) for dataset in datasets]

    def __len__(self) -> int:
        return len(self.loading)

    def __getitem__(self, index: int) -> list[dict]:
        loaded = self.loading.get_data_info(index)
        for step in self.steps:
            loaded = step(loaded)
        return [show({**loaded, "seg_fields": [*loaded["seg_fields"]]}) for show in self.shows]


def shared_loader(loaders: Sequence[DataLoader]) -> DataLoader:
    """Makes one loader of those of several tests; each of its items is a list with a batch for each
    test.

    Args:
        loaders: those of tests that :func:`what_is_loaded` says the same of.
    """
    first = loaders[0]
    return DataLoader(
        SharedSamples([loader.dataset for loader in loaders]),
        batch_sampler=first.batch_sampler,
        num_workers=first.num_workers,
        collate_fn=_batches,
        pin_memory=first.pin_memory,
        worker_init_fn=first.worker_init_fn,
    )


def _batches(samples: Sequence[Sequence[dict]]) -> list[dict]:
    return [pseudo_collate(list(of_test)) for of_test in zip(*samples, strict=True)]


def what_is_loaded(loader: Mapping) -> str:
    """Says which files the loader of a config loads, and how; equal for tests that can share them.

    Args:
        loader: an entry of ``test_dataloader``, from
            :func:`ibnseg.engine.testing.test_dataloader`.
    """
    dataset = loader["dataset"]
    pipeline = dataset["pipeline"][: len(LOADING)]
    return json.dumps({**loader, "dataset": {**dataset, "pipeline": pipeline}}, sort_keys=True)
