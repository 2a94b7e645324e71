"""Which tensors of nested states are not finite."""

import torch

from ibnseg.support.finite import non_finite


def test_tensors_with_nan_or_infinity_are_named_wherever_they_lie() -> None:
    nan, inf = torch.tensor([1.0, float("nan")]), torch.tensor(float("-inf"), dtype=torch.float64)
    state = {
        "a": torch.ones(2),
        "state": {0: {"momentum": nan, "step": 3}, 1: {"momentum": torch.zeros(1)}},
        "several": [torch.arange(3), (inf,)],
        "half": torch.tensor([70000.0]).half(),
        "eight bits": nan.to(torch.float8_e4m3fn),
        "fine in eight bits": torch.ones(2).to(torch.float8_e5m2),
        "empty": torch.zeros(0),
        "nothing": None,
        "lr": float("nan"),  # no tensor
    }
    assert sorted(non_finite(state)) == [
        "eight bits",
        "half",
        "several.1.0",
        "state.0.momentum",
    ]
    assert non_finite({}) == []
