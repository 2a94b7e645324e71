"""The IBN layer: instance normalisation for some channels, batch normalisation for the others."""

from __future__ import annotations

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ibnseg.models.one_pass import InstanceNorm, is_watched, normalise
from ibnseg.registry import MODELS


@MODELS.register_module()
class IBN(nn.Module):
    """Instance-batch normalisation (Pan et al., "Two at Once", ECCV 2018).

    Instance normalisation (IN) removes what is particular to one image, its colours and contrast;
    batch normalisation (BN) keeps it. A layer that does both, on separate channels, keeps the
    content and is indifferent to much of the appearance. Both halves are affine.

    Args:
        num_features: number of channels C, C >= 1.
        ratio: share of channels for IN, in [0, 1].
        eps: added to the variance in both halves.
        in_first: if true, ``int(C * ratio)`` channels of IN come first and the rest is BN, as in
            the published ResNets; otherwise ``int(C * (1 - ratio))`` channels of BN come first and
            the rest is IN, as in the published DenseNets.

    Shape:
        ``(N, C, H, W)`` floating point to the same shape and dtype, H * W > 1.

    Raises:
        ValueError: if ``ratio`` lies outside of [0, 1].

    The children are called ``IN`` and ``BN`` as in the published checkpoints, whatever the ratio; a
    child without channels is not run. On a CPU the layer computes at once what they give, equal but
    for rounding (:mod:`ibnseg.models.one_pass`). They are called if one of them has a hook or is of
    a type of your own, if torch compiles or transforms the layer, and on GPUs.
    """

    _abbr_ = "bn"  # mmcv names the attribute after it: ``bn1.IN.weight``, as published

    def __init__(
        self, num_features: int, ratio: float = 0.5, eps: float = 1e-5, in_first: bool = True
    ) -> None:
        super().__init__()
        if not 0 <= ratio <= 1:
            raise ValueError(f"IBN ratio must lie in [0, 1], got {ratio}")
        first = int(num_features * (ratio if in_first else 1 - ratio))
        self.in_first = in_first
        self.split = (first, num_features - first)
        instance, batch = self.split if in_first else self.split[::-1]
        self.IN = InstanceNorm(instance, eps=eps, affine=True)
        self.BN = nn.BatchNorm2d(batch, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        if not (is_watched(self.IN) or is_watched(self.BN)):
            out = normalise(x, self.IN, self.BN, self.in_first)
            if out is not None:
                return out
        parts = x.split(self.split, dim=1)
        layers = (self.IN, self.BN) if self.in_first else (self.BN, self.IN)
        return torch.cat(
            [layer(part) for layer, part in zip(layers, parts, strict=True) if part.shape[1]], dim=1
        )

    def extra_repr(self) -> str:
        return f"split={self.split}, in_first={self.in_first}"


class INBN(nn.Module):
    """Instance and batch normalisation of the same channels, side by side (IBN-Net-c).

    Shape:
        ``(N, C, H, W)`` floating point to ``(N, 2 C, H, W)``, IN first.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.IN = InstanceNorm(num_features, eps=eps, affine=True)
        self.BN = nn.BatchNorm2d(num_features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.IN(x), self.BN(x)], dim=1)


def build_norm(
    kind: str, channels: int, norm_cfg: dict, ratio: float = 0.5, in_first: bool = True
) -> nn.Module:
    """Builds a normalisation, with the kind of BN that a config names.

    Args:
        kind: ``BN``, ``IN``, ``IBN`` or ``IN|BN``; see :mod:`ibnseg.models.variants`.
        channels: number of input channels.
        norm_cfg: mmcv's config of a normalisation, e.g. ``dict(type='SyncBN', momentum=0.1)``; its
            ``eps`` and ``requires_grad`` hold for IN, too.
        ratio: share of channels for IN, in [0, 1], in an IBN layer.
        in_first: whether the channels for IN come first.
    """
    if kind == "BN":
        return build_norm_layer(norm_cfg, channels)[1]
    eps = norm_cfg.get("eps", 1e-5)
    if kind == "IN":
        norm = instance = InstanceNorm(channels, eps=eps, affine=True)
    else:
        norm = INBN(channels, eps) if kind == "IN|BN" else IBN(channels, ratio, eps, in_first)
        norm.BN = build_norm_layer(norm_cfg, norm.BN.num_features)[1]
        instance = norm.IN
    instance.requires_grad_(norm_cfg.get("requires_grad", True))
    for half in norm.children():
        if not half.num_features:  # it is not run, and data parallel training waits for gradients
            half.requires_grad_(False)
    return norm
