"""Upsampling for losses has torch's numbers and gradients, to the last bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ibnseg.models.upsampling import upsampled


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 19, 8, 9), (64, 72)),
        ((1, 5, 7, 5), (40, 41)),
        ((3, 2, 4, 4), (4, 4)),
        ((2, 3, 6, 8), (3, 5)),
        ((2, 4, 1, 1), (6, 7)),
        ((2, 1, 5, 1), (9, 3)),
    ],
)
def test_values_and_gradients_are_torchs_to_the_last_bit(shape, size, layout, align_corners):
    torch.manual_seed(0)
    logits = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    grad = torch.randn(*shape[:2], *size)
    want = F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)
    got = upsampled(logits, size, align_corners)
    assert got.is_contiguous()
    torch.testing.assert_close(got, want, rtol=0, atol=0, check_stride=False)
    (of_want,) = torch.autograd.grad(want, logits, grad)
    (of_got,) = torch.autograd.grad(got, logits, grad)
    torch.testing.assert_close(of_got, of_want, rtol=0, atol=0, check_stride=False)
    assert of_got.is_contiguous(memory_format=layout)


def test_the_gradient_can_be_differentiated_again():
    logits = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: upsampled(x, (6, 5)).square(), logits)
