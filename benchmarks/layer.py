"""The IBN layer in inference: fused into its network, and by itself, beside BN and the authors'."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, alternately, compare
from ibnseg.models import IBN
from ibnseg.models.fuse import InstanceHalf

SHAPE = (1, 64, 128, 256)
BN, AUTHORS = "BN", "the authors' form"


def authors_form(ibn: IBN, copy: Callable[[Tensor], Tensor] = torch.Tensor.contiguous) -> Callable:
    """The layer as its authors wrote it: split, copy the halves, IN and BN, concatenate."""
    instance = nn.InstanceNorm2d(ibn.IN.num_features, affine=True)
    instance.load_state_dict(ibn.IN.state_dict())

    def forward(x: Tensor) -> Tensor:
        first, second = x.split(ibn.split, dim=1)
        return torch.cat([instance(copy(first)), ibn.BN(copy(second))], dim=1)

    return forward


def measure(threads: int) -> list[Row]:
    torch.manual_seed(0)
    x, ibn, bn = torch.randn(SHAPE), IBN(SHAPE[1]).eval(), nn.BatchNorm2d(SHAPE[1]).eval()
    authors, half, changed = authors_form(ibn), InstanceHalf(ibn).eval(), x.clone()
    ways = {
        "fused": lambda: half(changed),
        "ibnseg": lambda: ibn(x),
        BN: lambda: bn(x),
        AUTHORS: lambda: authors(x),
    }
    what = f"IBN layer, inference, {'x'.join(map(str, SHAPE))}"
    rows = []
    with torch.inference_mode():
        for work, ours, peer, most in (
            (f"{what}, fused", "fused", BN, 1.2),
            (what, "ibnseg", AUTHORS, 1 / 1.8),
            (what, "ibnseg", BN, None),
        ):
            times = alternately({name: ways[name] for name in (ours, peer)}, seconds=2)
            rows.append(compare(work, times, peer, most, ours=ours))
    return rows
