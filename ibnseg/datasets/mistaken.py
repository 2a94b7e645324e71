"""Labels that hold train ids although their names promise a dataset's own ids.

Most train ids are ids of the dataset, too: 2 is building among the train ids of Cityscapes, and the
rectification border among its ids. So each class would be read as another, and nothing would fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ibnseg.datasets.labels import IGNORE

SAMPLED = 20
"""The most labels of a split that are looked at."""


def telling_ids(ids: Mapping[int, int], classes: int) -> list[int]:
    """The ids that stand for a class and are no train ids, by which labels of ids are recognised.

    Args:
        ids: the dataset's table from ids to train ids.
        classes: the number of classes, whose train ids begin with 0.

    Returns:
        The ids, sorted; none if all ids of classes are train ids, too, which leaves no way to tell.
    """
    of_classes = (i for i, train_id in ids.items() if train_id != IGNORE)
    return sorted(i for i in of_classes if i >= classes and i != IGNORE)


def seem_train_ids(labels: Iterable[np.ndarray], ids: Mapping[int, int], classes: int) -> bool:
    """Whether labels hold train ids and nothing else, although a table maps other ids to them.

    Args:
        labels: (H, W) uint8 each, as stored, or (H, W, 3) if they are colours, which are no train
            ids; they are taken only until one has another id.
        ids: the dataset's table from ids to train ids.
        classes: the number of classes.

    Returns:
        False also without labels, and if the table has no :func:`telling_ids`.
    """
    if not telling_ids(ids, classes):
        return False
    count = 0
    for label in labels:
        if label.ndim > 2 or ((label >= classes) & (label != IGNORE)).any():
            return False
        count += 1
    return count > 0
