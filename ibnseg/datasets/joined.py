"""Several training domains as one dataset, and the stream that shows each by its share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import ClassSet
from ibnseg.datasets.sampler import StreamItem, StreamSampler
from ibnseg.registry import DATA_SAMPLERS, DATASETS


@DATASETS.register_module()
class JoinedDomains(Dataset):
    """Joins datasets one after another; each sample goes through its own dataset's pipeline.

    Args:
        datasets: configs of the datasets, all of the same classes.
    """

    def __init__(self, datasets: Sequence[Mapping]) -> None:
        self.datasets: list[DrivingDataset] = [DATASETS.build(each) for each in datasets]
        self.offsets = np.cumsum([0, *map(len, self.datasets)]).tolist()

    @property
    def CLASS_SET(self) -> ClassSet:
        """The classes, which all datasets have."""
        return self.datasets[0].CLASS_SET

    @property
    def metainfo(self) -> dict:
        return self.datasets[0].metainfo

    @property
    def data_root(self) -> str:
        """The folders of all datasets, for messages."""
        return ", ".join(str(dataset.data_root) for dataset in self.datasets)

    def full_init(self) -> None:
        """Does nothing, because each dataset is read when it is built; mmengine calls it."""

    def __len__(self) -> int:
        return self.offsets[-1]

    def place(self, index: int) -> tuple[DrivingDataset, int]:
        """Finds the dataset that an index is in, and the index within that dataset."""
        which = int(np.searchsorted(self.offsets, index, side="right")) - 1
        return self.datasets[which], index - self.offsets[which]

    def get_data_info(self, index: int) -> dict:
        """Describes a sample as ``DrivingDataset.get_data_info`` does."""
        dataset, own = self.place(index)
        return dataset.get_data_info(own)

    def __getitem__(self, item: int | StreamItem) -> dict:
        if not isinstance(item, StreamItem):
            dataset, own = self.place(item)
            return dataset[own]
        dataset, own = self.place(item.index)
        return dataset[item._replace(index=own)]


@DATA_SAMPLERS.register_module()
class ShareSampler(StreamSampler):
    """The training stream in which each position's domain is drawn by its share, and the images of
    each domain come in an endless shuffled order of their own.

    Args:
        dataset: the joined domains.
        shares: the share of each of its datasets, above 0; they sum to 1.
        kwargs: the arguments of mmengine's ``InfiniteSampler``.
    """

    def __init__(self, dataset: JoinedDomains, shares: Sequence[float], **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        self.bounds = np.cumsum(shares)[:-1]
        self.offsets = dataset.offsets

    def stream(self) -> Iterator[StreamItem]:
        """Yields the items of all processes from the first position on, without end."""
        generator = np.random.default_rng(self.seed)
        sizes = np.diff(self.offsets)
        orders = [_shuffled(size, (self.seed, i)) for i, size in enumerate(sizes.tolist())]
        for position in itertools.count():
            which = int(np.searchsorted(self.bounds, generator.random(), side="right"))
            yield StreamItem(self.offsets[which] + next(orders[which]), position, self.seed)


def _shuffled(size: int, entropy: tuple[int, ...]) -> Iterator[int]:
    """Yields the numbers below ``size`` in one random order after another, without end."""
    generator = np.random.default_rng(entropy)
    while True:
        yield from generator.permutation(size).tolist()
