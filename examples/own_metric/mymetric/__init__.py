"""Road users that a network takes for free road."""

import numpy as np

from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.evaluation.metrics import Metric, register

USERS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
_USERS = [CITYSCAPES.classes.index(name) for name in USERS]
_ROAD = CITYSCAPES.classes.index("road")


def overlooked(confusion: np.ndarray, averaged: list[int]) -> np.ndarray:
    """The share of the pixels of road users that are predicted as road.

    Args:
        confusion: (..., K, K); rows are truth, columns are predictions.
        averaged: the classes that a mean is taken over; not used here.

    Returns:
        (...) float64 in [0, 1]; NaN without any road user.
    """
    users = confusion[..., _USERS, :].sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return users[..., _ROAD] / users.sum(axis=-1)


register(
    Metric(
        "overlooked",
        "road users taken for road",
        overlooked,
        "this example",
        higher_is_better=False,
        classes=CITYSCAPES.classes,
    )
)
