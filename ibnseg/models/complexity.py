"""What a network costs: its parameters, and the operations of a forward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ibnseg.models.names import LAYOUTS, build_backbone


class Complexity(NamedTuple):
    """The number of parameters, and that of operations in a forward pass of one image."""

    parameters: int
    flops: int


def complexity(network: nn.Module, height: int, width: int) -> Complexity:
    """Counts parameters and operations of a network on the meta device, where nothing is computed.

    Args:
        network: takes ``(1, 3, height, width)``.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        Operations are those of convolutions, linear layers and the products of attention alone,
        two for each multiplication and addition (torch's ``FlopCounterMode``); normalisations,
        additions of maps and activations are not counted.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(torch.empty(1, 3, height, width, device="meta"))
    return Complexity(count_parameters(network), counter.get_total_flops())


def backbone_complexity(
    name: str, height: int = 512, width: int = 1024, known: dict[tuple, int] | None = None
) -> Complexity:
    """Counts parameters and operations of a backbone of output stride 8, without a head.

    Args:
        name: one of :data:`ibnseg.models.names.NAMES`.
        height: height of the image in pixels.
        width: width of the image in pixels.
        known: numbers of operations by layers, a dict that several calls share and fill, so that
            variants that differ in normalisations alone are counted once.

    Raises:
        UserError: for an unknown name.
    """
    with torch.device("meta"):
        backbone = build_backbone(name, **LAYOUTS[8])
    layers = tuple(str(m) for m in backbone.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    known = {} if known is None else known
    if layers not in known:
        known[layers] = complexity(backbone, height, width).flops
    return Complexity(count_parameters(backbone), known[layers])


def count_parameters(network: nn.Module) -> int:
    """Counts the parameters of a network, frozen ones included."""
    return sum(p.numel() for p in network.parameters())
