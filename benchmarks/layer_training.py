"""The IBN layer in training, forward and backward, beside BN and the authors' form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.layer import AUTHORS, BN, authors_form
from benchmarks.measure import Row, alternately, compare
from ibnseg.models import IBN

CASES = (
    ((4, 64, 96, 96), torch.contiguous_format, 1.2),
    ((2, 256, 64, 64), torch.contiguous_format, 1.2),
    ((4, 64, 96, 96), torch.channels_last, None),
)
"""Shape, memory layout, and the largest ratio to BN that was aimed at."""


def measure(threads: int) -> list[Row]:
    rows = []
    for shape, layout, most in CASES:
        torch.manual_seed(0)
        x, grad = (torch.randn(shape).contiguous(memory_format=layout) for _ in range(2))
        ibn = IBN(shape[1])
        forms = {"ibnseg": ibn, BN: nn.BatchNorm2d(shape[1]), AUTHORS: authors_form(ibn)}
        ways = {name: _step(form, x, grad) for name, form in forms.items()}
        dense = ", channels-last" if layout is torch.channels_last else ""
        what = f"IBN layer, training, {'x'.join(map(str, shape))}{dense}"
        for peer, goal in ((BN, most), (AUTHORS, None)):
            times = alternately({name: ways[name] for name in ("ibnseg", peer)}, seconds=2)
            rows.append(compare(what, times, peer, goal))
    return rows


def _step(form: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], None]:
    inputs = x.clone().requires_grad_()

    def forward_and_backward() -> None:
        inputs.grad = None
        form(inputs).backward(grad)

    return forward_and_backward
