"""Masked attention that fades out over the training, so that a trained network needs none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from torch import Tensor

POWER = 0.9
"""The exponent of the fall from 1 to 0, which is that of EoMT's learning rate
(``training/lightning_module.py``)."""


def default_spans(blocks: int) -> tuple[tuple[float, float], ...]:
    """Lists when the masked attention of each block ends, as shares of the training ``(start,
    end)``.

    Each takes a sixth of the training, the first from 1/6 on, the last from 4/6 on, the others
    evenly between. These are EoMT's for Cityscapes: of 19 902 steps, 3317 to 6634, ..., 13 268 to
    16 585 with 4 blocks; 3317, 8292 and 13 268 with 3.

    Args:
        blocks: number of blocks, 1 or more.
    """
    starts = [1 / 6 + i / 2 / max(blocks - 1, 1) for i in range(blocks)]
    return tuple((start, start + 1 / 6) for start in starts)


def masked_share(progress: float, span: tuple[float, float]) -> float:
    """Computes the share of queries whose attention is masked: 1 until the start of a span, then
    ``((end - progress) / (end - start)) ** 0.9``, and 0 from its end on.

    Args:
        progress: share of the training that is done, in [0, 1].
        span: ``(start, end)``.
    """
    start, end = span
    if progress >= end:
        return 0.0
    return 1.0 if progress <= start else ((end - progress) / (end - start)) ** POWER


def progress() -> float:
    """Reads from mmengine's MessageHub how much of the training that runs is done, in [0, 1); 0 if
    none runs. A resumed run reads what an uninterrupted one reads."""
    hub = MessageHub.get_current_instance()
    if hub.get_info("loop_stage") != "train":
        return 0.0
    return hub.get_info("iter", 0) / max(hub.get_info("max_iters", 1), 1)


def attention_mask(
    masks: Tensor, size: tuple[int, int], prefix: int, share: float
) -> Tensor | None:
    """Makes the mask of an attention in which queries see only the patches of their own masks
    (Mask2Former, Cheng et al., CVPR 2022, section 3.2.1, as EoMT joins it to a ViT's blocks).

    Tokens are those of the prefix, the patches and the queries. Everything attends to everything,
    but a masked query, among the patches, only to those where its mask, resized bilinearly to their
    grid, is positive. It still sees prefix and queries, itself among them, so none sees nothing.

    Args:
        masks: ``(N, Q, H, W)`` logits.
        size: the grid of the patches, ``(h, w)``.
        prefix: number of tokens P in front of the patches.
        share: the share of queries that are masked, drawn at random for each image.

    Returns:
        ``(N, 1, T, T)`` bool with T = P + h w + Q, true if a row may attend to a column; or
        ``None`` if no query is masked.
    """
    if share <= 0:
        return None
    images, queries = masks.shape[:2]
    patches = size[0] * size[1]
    seen = F.interpolate(masks.detach(), size, mode="bilinear", align_corners=False) > 0
    seen = seen.flatten(2)
    if share < 1:
        seen = seen | (torch.rand(images, queries, 1, device=masks.device) >= share)
    total = prefix + patches + queries
    allowed = torch.ones(images, 1, total, total, dtype=torch.bool, device=masks.device)
    allowed[:, 0, prefix + patches :, prefix : prefix + patches] = seen
    return allowed


def require_spans(spans: Sequence[Sequence[float]], blocks: int) -> None:
    """Checks the spans of an annealing.

    Raises:
        ValueError: if there is not one for each block, ``0 <= start <= end <= 1`` each.
    """
    fit = len(spans) == blocks and all(
        len(span) == 2 and 0 <= span[0] <= span[1] <= 1 for span in spans
    )
    if not fit:
        raise ValueError(
            f"QueryHead: anneal={spans!r}, expected {blocks} pairs (start, end) of shares of the "
            "training, 0 <= start <= end <= 1, one for each block"
        )
