"""bfloat16 training on any device."""

import torch

from ibnseg.engine.precision import BFloat16OptimWrapper


def test_forward_is_bfloat16_and_weights_stay_float32() -> None:
    model = torch.nn.Linear(4, 1)
    before = model.weight.detach().clone()
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    with wrapper.optim_context(model):
        out = model(x)
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight.detach(), before - 0.5 * x)


def test_autocast_ends_with_the_forward_pass() -> None:
    model = torch.nn.Linear(4, 1)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        pass
    assert model(torch.zeros(1, 4)).dtype == torch.float32
