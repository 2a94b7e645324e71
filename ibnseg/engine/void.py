"""A warning if the labels of a training domain have nothing to learn in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.logging import MMLogger
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from ibnseg.datasets.joined import JoinedDomains
from ibnseg.datasets.labels import IGNORE

MANY = 50
"""Crops in a row without a labelled pixel that are reported."""


class VoidLabels:
    """Counts the crops of each training domain that came in a row without a labelled pixel.

    Args:
        domains: names of the training domains.
        dataset: their images.
    """

    def __init__(self, domains: Sequence[str], dataset: Dataset) -> None:
        self._domains, self._places = domains, _places(dataset)
        self._in_a_row = [0] * len(domains)
        self._reported: set[str] = set()
        self._ever_labelled: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self._void, self._labelled = [0] * len(self._domains), [0] * len(self._domains)

    def note(self, samples: Iterable[SegDataSample]) -> None:
        """Counts crops, whose labels are on the host still."""
        for sample in samples:
            is_void = sample.gt_sem_seg.data.numpy().min() == IGNORE
            counts = self._void if is_void else self._labelled
            counts[self._places.get(sample.img_path, 0)] += 1

    def look(self, logger: MMLogger, last: bool) -> None:
        """Warns once of each domain of which the last :data:`MANY` crops or more were void, in all
        processes, which all have to call; and at the end, of one whose crops all were."""
        counts = torch.tensor([self._void, self._labelled])
        all_reduce(counts)
        self._forget()
        for i, (void, labelled) in enumerate(counts.T.tolist()):
            name = self._domains[i]
            self._in_a_row[i] = 0 if labelled else self._in_a_row[i] + void
            if labelled:
                self._reported.discard(name)
                self._ever_labelled.add(name)
            least = 1 if last and name not in self._ever_labelled else MANY
            if self._in_a_row[i] >= least and name not in self._reported:
                self._reported.add(name)
                logger.warning(
                    f"{name}: none of the last {self._in_a_row[i]} training crops has a labelled "
                    "pixel, so nothing is learnt from them; look at its labels, and at the ids "
                    "that its adapter maps to classes"
                )


def _places(dataset: Dataset) -> dict[str, int]:
    """The number of each image's domain, if there are several."""
    parts = dataset.datasets if isinstance(dataset, JoinedDomains) else []
    return {
        part.get_data_info(i)["img_path"]: number
        for number, part in enumerate(parts)
        for i in range(len(part))
    }
