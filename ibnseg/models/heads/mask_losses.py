"""Losses of predicted masks and their classes, at points (Mask2Former, Cheng et al., CVPR 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1
"""What dice adds to its numerator and denominator; official Mask2Former, ``criterion.py``."""

NONE = -1
"""Stands for the class of a query that has no target, and gives no loss."""


def mask_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Computes the binary cross entropy of each mask, its mean over points by their weights.

    Args:
        logits: ``(M, P)``.
        targets: ``(M, P)`` in [0, 1].
        weights: ``(M, P)`` of at least 0. Points of weight 0 do not count; without others it is 0.

    Returns:
        ``(M,)``.
    """
    values = F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="none")
    return values.sum(dim=-1) / at_least_tiny(weights.sum(dim=-1))


def mask_dice(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Computes the dice loss of each mask: ``1 - (2 sum w s t + 1) / (sum w s + sum w t + 1)`` with
    weights w, targets t and the logits' sigmoids s.

    Args:
        logits: ``(M, P)``.
        targets: ``(M, P)`` in [0, 1].
        weights: ``(M, P)`` of at least 0.

    Returns:
        ``(M,)`` in [0, 1).
    """
    shares, targets = logits.sigmoid(), weights * targets
    both = (shares * targets).sum(dim=-1)
    either = (weights * shares).sum(dim=-1) + targets.sum(dim=-1)
    return 1 - (2 * both + SMOOTH) / (either + SMOOTH)


def class_cross_entropy(logits: Tensor, targets: Tensor, no_object: float = 0.1) -> Tensor:
    """Computes the sum of the queries' cross entropies, weighted by :func:`class_weights`.

    Args:
        logits: ``(N, Q, K + 1)``, the last of no object.
        targets: ``(N, Q)`` int64: 0 to K - 1, K for no object, :data:`NONE` for no loss.
        no_object: the weight of no object.

    Returns:
        A tensor of one value.
    """
    weight = logits.new_ones(logits.shape[-1])
    weight[-1] = no_object
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), weight, ignore_index=NONE, reduction="sum"
    )


def at_least_tiny(divisor: Tensor) -> Tensor:
    """Raises a divisor that may be 0 to the smallest normal number of its dtype."""
    return divisor.clamp(min=torch.finfo(divisor.dtype).tiny)
