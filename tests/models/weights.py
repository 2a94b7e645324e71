"""A small network, and weights for it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def net() -> nn.Module:
    """A small module with every kind of entry: weights, statistics, a counter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))


def other_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the same shapes, all different from the module's."""
    return {k: torch.full_like(v, 7 + i) for i, (k, v) in enumerate(module.state_dict().items())}


def unchanged(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    after = module.state_dict()
    return list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in after)


def saved(path: Path, content, **kwargs) -> str:
    torch.save(content, path, **kwargs)
    return str(path)
