"""The endless training stream: which image comes at which position, and with which randomness."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from mmengine.dataset import InfiniteSampler

from ibnseg.registry import DATA_SAMPLERS


class StreamItem(NamedTuple):
    """A sample of the training stream; its augmentation is a function of seed and position."""

    index: int
    position: int
    seed: int
    centroid: tuple[int, int] | None = None
    """(x, y), in pixels of the stored image, of what the crop is to contain."""


@DATA_SAMPLERS.register_module()
class StreamSampler(InfiniteSampler):
    """mmengine's endless shuffled sampler, telling each sample its position in the whole stream.

    Positions are counted over all processes, so that neither the number of processes nor of loader
    workers changes what a position holds. ``skip`` (from mmengine) goes on from where a run was
    interrupted.
    """

    def _indices_of_rank(self) -> Iterator[StreamItem]:
        return itertools.islice(self.stream(), self.rank, None, self.world_size)

    def stream(self) -> Iterator[StreamItem]:
        """The items of all processes, from the first position on, without end."""
        for position, index in enumerate(self._infinite_indices()):
            yield StreamItem(index, position, self.seed)
