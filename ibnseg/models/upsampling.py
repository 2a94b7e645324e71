"""Upsampling of the logits that a loss is computed from: torch's numbers, in the memory layouts
that are fastest on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ibnseg.models.kernels import is_channels_last


def upsampled(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Upsamples logits bilinearly, to the last bit as ``F.interpolate`` does, gradients included.

    A loss reads one class after the other, and takes long if the classes of a pixel lie side by
    side. The gradient of the upsampling is the other way round: torch computes it several times as
    fast with the classes side by side.

    Args:
        logits: ``(N, C, h, w)``, floating point.
        size: (H, W) of the result.
        align_corners: as in ``F.interpolate``.

    Returns:
        ``(N, C, H, W)``; on a CPU contiguous, whatever the layout of the logits.
    """
    if logits.device.type != "cpu":
        return F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)
    return _Upsampling.apply(logits, tuple(size), align_corners)


class _Upsampling(Function):
    @staticmethod
    def forward(ctx, logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
        ctx.size, ctx.shape, ctx.align_corners = size, tuple(logits.shape), align_corners
        last = is_channels_last(logits)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return _planes(F.interpolate(logits, size, mode="bilinear", align_corners=align_corners))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = grad.contiguous(memory_format=torch.channels_last)
        found = torch.ops.aten.upsample_bilinear2d_backward(
            grad, ctx.size, ctx.shape, ctx.align_corners
        )
        return found.contiguous(memory_format=ctx.layout), None, None


def _planes(x: Tensor) -> Tensor:
    """Makes a tensor contiguous.

    ``x.contiguous()`` takes twice as long, because torch transposes matrices in blocks, but not
    tensors of four dimensions.
    """
    if not is_channels_last(x):
        return x.contiguous()
    n, c, h, w = x.shape
    out = x.new_empty((n, c, h * w))
    for ours, pixels in zip(out, x.permute(0, 2, 3, 1).reshape(n, h * w, c), strict=True):
        ours.copy_(pixels.t())
    return out.view(n, c, h, w)
