"""The length of a training and the poly schedule."""

import pytest
import torch
from mmengine.optim import PolyLR

from ibnseg.engine.schedule import iterations, poly


@pytest.mark.parametrize("total", [1, 2, 7, 14880])
def test_poly_is_the_classic_form_at_every_iteration(total: int) -> None:
    """base * (1 - i / N) ** 0.9 to 1e-10 relative, in each parameter group."""
    bases = (0.01, 0.1)
    parameters = [torch.nn.Parameter(torch.zeros(())) for _ in bases]
    groups = [dict(params=[p], lr=lr) for p, lr in zip(parameters, bases, strict=True)]
    optimizer = torch.optim.SGD(groups)
    kwargs = poly(total, power=0.9)
    assert kwargs.pop("type") == "PolyLR"
    scheduler = PolyLR(optimizer, **kwargs)
    worst = 0.0
    for i in range(total):
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            expected = base * (1 - i / total) ** 0.9
            worst = max(worst, abs(group["lr"] / expected - 1))
        optimizer.step()
        scheduler.step()
    assert worst < 1e-10
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_an_epoch_counts_its_last_batch_even_if_it_is_not_full() -> None:
    assert iterations(80, 2975, 16) == 80 * 186
    assert iterations(80, 3100, 16) == 80 * 194
    assert iterations(1, 16, 16) == 1
    assert iterations(3, 1, 16) == 3
