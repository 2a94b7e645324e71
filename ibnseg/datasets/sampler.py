"""The endless training stream, which decides the image and the randomness of every position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from mmengine.dataset import InfiniteSampler

from ibnseg.registry import DATA_SAMPLERS


class StreamItem(NamedTuple):
    """A sample of the training stream; its augmentation depends on seed and position alone."""

    index: int
    """The index of the image in the dataset."""
    position: int
    """The number of the sample in the stream, over all processes, from 0."""
    seed: int
    """The seed of the stream."""
    centroid: tuple[int, int] | None = None
    """The point (x, y) in pixels of the stored image that the crop must contain, if not None."""


@DATA_SAMPLERS.register_module()
class StreamSampler(InfiniteSampler):
    """mmengine's endless shuffled sampler, which also gives each sample its position in the stream.

    Positions are counted over all processes, so that the content of a position depends neither on
    the number of processes nor on that of loader workers. mmengine's ``skip`` continues an
    interrupted run.
    """

    def _indices_of_rank(self) -> Iterator[StreamItem]:
        return itertools.islice(self.stream(), self.rank, None, self.world_size)

    def stream(self) -> Iterator[StreamItem]:
        """Yields the items of all processes from the first position on, without end."""
        for position, index in enumerate(self._infinite_indices()):
            yield StreamItem(index, position, self.seed)
