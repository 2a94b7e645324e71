"""The loss of queries that predict classes and masks: match them, then compare at points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from ibnseg.models.heads.mask_losses import (
    NONE,
    at_least_tiny,
    class_cross_entropy,
    mask_cross_entropy,
    mask_dice,
)
from ibnseg.models.heads.matching import WEIGHTS, Match, matches, pair_costs, present
from ibnseg.models.heads.points import labels_at, logits_at, uncertain_points

NO_OBJECT = 0.1
"""The weight of queries without a target in the classes' loss (Mask2Former)."""


class QueryPrediction(NamedTuple):
    """What the queries predict in one place.

    Attributes:
        classes: ``(N, Q, K + 1)`` logits, the last of no object.
        masks: ``(N, Q, H, W)`` logits.
    """

    classes: Tensor
    masks: Tensor


def query_losses(
    predictions: Sequence[QueryPrediction],
    labels: Tensor,
    points: int = 12544,
    ignore_index: int = 255,
) -> dict[str, Tensor]:
    """Computes the losses of some predictions, each matched by itself with the label's masks.

    Args:
        predictions: one or more, in float32 or float64.
        labels: ``(N, H, W)`` int64 train ids.
        points: number of points of a mask.
        ignore_index: the label of pixels that do not count.

    Returns:
        ``loss_class``, ``loss_mask`` and ``loss_dice``, summed over the predictions. Masks are
        averaged over the targets of all processes, classes over all queries by their weights; the
        queries of an image that is ignored as a whole are none of them.

    Raises:
        UserError: for a label that is no class.
    """
    count = predictions[0].classes.shape[-1] - 1
    ids = present(labels)
    is_counted = ids[:, :count].any(dim=1)
    with torch.no_grad():
        costs = [_costs(each, labels, points, ignore_index) for each in predictions]
        matched = matches(torch.stack(costs), ids, ignore_index)
    of_classes = of_masks = of_dice = 0
    for prediction, match in zip(predictions, matched, strict=True):
        targets = class_targets(match, is_counted, *prediction.classes.shape[1:])
        of_classes += class_cross_entropy(prediction.classes, targets, NO_OBJECT)
        mask, dice = _mask_losses(prediction.masks, match, labels, points, ignore_index)
        of_masks, of_dice = of_masks + mask, of_dice + dice
    masks, classes = _divisors(matched[0], is_counted, predictions[0].classes)
    return dict(
        loss_class=WEIGHTS.cls * of_classes / classes,
        loss_mask=WEIGHTS.mask * of_masks / masks,
        loss_dice=WEIGHTS.dice * of_dice / masks,
    )


def class_targets(match: Match, is_counted: Tensor, queries: int, classes: int) -> Tensor:
    """Makes the class that each query is to predict.

    Args:
        match: the match of one prediction.
        is_counted: ``(N,)`` bool, whether an image has a label at all.
        queries: their number Q in an image.
        classes: number of classes with that of no object, K + 1.

    Returns:
        ``(N, Q)`` int64: 0 to K - 1, K for no object, -1 for no loss.
    """
    targets = torch.where(is_counted, classes - 1, NONE)[:, None].repeat(1, queries)
    targets[match.images, match.queries] = match.classes
    return targets


def _costs(prediction: QueryPrediction, labels: Tensor, points: int, ignore_index: int) -> Tensor:
    """The costs of a prediction's queries, at random points that are an image's own."""
    classes, masks = prediction
    drawn = torch.rand(len(labels), points, 2, dtype=masks.dtype, device=masks.device)
    images = torch.arange(len(labels), device=labels.device)
    at = labels_at(labels, images, drawn, ignore_index)
    shares = at.shares(classes.shape[-1] - 1)
    return pair_costs(classes, logits_at(masks, drawn), shares, at.counted)


def _mask_losses(
    masks: Tensor, match: Match, labels: Tensor, points: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Cross entropy and dice of the matched masks, summed over them."""
    chosen = masks[match.images, match.queries]
    drawn = uncertain_points(chosen, labels, match.images, points, ignore_index=ignore_index)
    at = labels_at(labels, match.images, drawn, ignore_index)
    values = (logits_at(chosen.unsqueeze(1), drawn).squeeze(1), at.share(match.classes), at.counted)
    return mask_cross_entropy(*values).sum(), mask_dice(*values).sum()


def _divisors(match: Match, is_counted: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """By what the sums over masks and over queries are divided: the number of targets, at least 1,
    and the sum of the queries' weights, each the mean over the processes."""
    targets = torch.full((), len(match.images), dtype=classes.dtype, device=classes.device)
    queries = is_counted.sum() * classes.shape[1]
    both = torch.stack([targets, targets + NO_OBJECT * (queries - targets)])
    all_reduce(both)
    masks, queries = (both / get_world_size()).unbind()
    return masks.clamp(min=1), at_least_tiny(queries)
