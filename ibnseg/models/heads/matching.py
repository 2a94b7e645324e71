"""Which query is to predict which class of an image: the assignment of the least cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ibnseg.models.heads.mask_losses import SMOOTH, at_least_tiny
from ibnseg.support.errors import UserError

IDS = 256
"""The values that a label's pixel may have."""


class Weights(NamedTuple):
    """How much the class of a query, its mask's cross entropy and its mask's dice count."""

    cls: float
    mask: float
    dice: float


WEIGHTS = Weights(cls=2, mask=5, dice=5)
"""The weights in the cost of a match and in the loss (Mask2Former, Cheng et al., CVPR 2022, section
4.1; EoMT, ``training/mask_classification_semantic.py``)."""


class Match(NamedTuple):
    """Queries and their classes, one of each for every class of every image.

    Attributes:
        images, queries, classes: ``(M,)`` int64.
    """

    images: Tensor
    queries: Tensor
    classes: Tensor


def pair_costs(classes: Tensor, masks: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Computes what it costs to match each query of an image with each class.

    The cost is the weighted sum of the negative probability of the class, of the mask's binary
    cross entropy and of its dice loss (Mask2Former; official ``matcher.py``).

    Args:
        classes: ``(N, Q, K + 1)`` logits.
        masks: ``(N, Q, P)`` logits at points.
        targets: ``(N, K, P)`` in [0, 1]: the masks of the classes there.
        counted: ``(N, P)`` in [0, 1]: how much of a point is not ignored.

    Returns:
        ``(N, Q, K)``.
    """
    of_class = -classes.softmax(dim=-1)[..., :-1]
    targets = (targets * counted.unsqueeze(1)).mT
    # softplus(-x) t + softplus(x) (1 - t) = softplus(x) - x t
    total = F.softplus(masks) @ counted.unsqueeze(-1)
    of_mask = (total - masks @ targets) / at_least_tiny(counted.sum(dim=1))[:, None, None]
    shares = masks.sigmoid()
    either = shares @ counted.unsqueeze(-1) + targets.sum(dim=1, keepdim=True)
    of_dice = 1 - (2 * (shares @ targets) + SMOOTH) / (either + SMOOTH)
    return WEIGHTS.cls * of_class + WEIGHTS.mask * of_mask + WEIGHTS.dice * of_dice


def present(labels: Tensor) -> Tensor:
    """Finds the ids that occur in each image, without waiting for the device.

    Args:
        labels: ``(N, H, W)`` int64, 0 to 255.

    Returns:
        ``(N, 256)`` bool.
    """
    found = torch.zeros(len(labels), IDS, dtype=torch.bool, device=labels.device)
    return found.scatter_(1, labels.flatten(1), True)


def matches(costs: Tensor, ids: Tensor, ignore_index: int = 255) -> list[Match]:
    """Matches the classes of each image with its queries, so that the sum of the costs is least
    (Hungarian method; scipy's ``linear_sum_assignment``).

    It runs on the host, and so waits for the device, once for all predictions.

    Args:
        costs: ``(L, N, Q, K)`` of L predictions, on any device; what is not finite counts as 0 or
            as the largest number.
        ids: ``(N, 256)`` bool, from :func:`present`.
        ignore_index: the id of pixels that do not count.

    Returns:
        The match of each prediction, on the device of the costs, ordered by images.

    Raises:
        UserError: for labels that are no class.
    """
    count = costs.shape[-1]
    both = torch.cat([costs.flatten(), ids.flatten().to(costs.dtype)]).cpu()
    host = both[: costs.numel()].nan_to_num().reshape(costs.shape).numpy()
    found = both[costs.numel() :].reshape(ids.shape).bool().numpy()
    ids_of = [[i for i in np.flatnonzero(row) if i != ignore_index] for row in found]
    unknown = sorted({int(i) for row in ids_of for i in row if i >= count})
    if unknown:
        raise UserError(
            f"a label has the train ids {unknown}, but the head has {count} classes; set "
            "model.decode_head.num_classes to the number of the domain's classes"
        )
    rows = []
    for prediction in host:
        for image, (cost, classes) in enumerate(zip(prediction, ids_of, strict=True)):
            queries, columns = linear_sum_assignment(cost[:, classes])
            chosen = np.asarray(classes, dtype=np.int64)[columns]
            rows.append(np.stack([np.full(len(chosen), image), queries, chosen]))
    everything = torch.from_numpy(np.concatenate(rows, axis=1)).to(costs.device)
    count = everything.shape[1] // len(costs)
    return [Match(*part) for part in everything.reshape(3, len(costs), count).unbind(1)]
