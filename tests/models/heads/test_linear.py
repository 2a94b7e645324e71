"""The linear head against its formula."""

from __future__ import annotations

import pytest
import torch

from ibnseg.models import LinearHead
from ibnseg.registry import MODELS
from tests.models.tiny import CROSS_ENTROPY

BN = dict(type="BN")


def head(**kwargs) -> LinearHead:
    torch.manual_seed(0)
    return MODELS.build(
        dict(type="ibnseg.LinearHead", num_classes=3, loss_decode=CROSS_ENTROPY, **kwargs)
    )


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 4, 3, 5) * 3 + 1, torch.randn(2, 6, 3, 5)


def test_without_a_normalisation_each_pixel_goes_through_one_linear_layer(maps) -> None:
    linear = head(in_channels=6)
    assert [*linear.state_dict()] == ["conv_seg.weight", "conv_seg.bias"]
    weight, bias = linear.conv_seg.weight[..., 0, 0], linear.conv_seg.bias
    expected = torch.einsum("kc,nchw->nkhw", weight, maps[1]) + bias[:, None, None]
    torch.testing.assert_close(linear(maps), expected)


def test_bn_in_front_of_it_normalises_each_channel_over_the_batch(maps) -> None:
    """As of DINOv2's linear evaluation, whose head has no dropout."""
    linear = head(in_channels=4, in_index=0, norm_cfg=BN).train()
    assert linear.dropout is None
    x = maps[0].double()
    mean, std = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    normal = (x - mean) / (std + 1e-5).sqrt()
    expected = torch.einsum("kc,nchw->nkhw", linear.conv_seg.weight[..., 0, 0].double(), normal)
    expected += linear.conv_seg.bias.double()[:, None, None]
    torch.testing.assert_close(linear(maps).double(), expected, rtol=1e-5, atol=1e-5)


def test_several_maps_are_concatenated_at_the_size_of_the_first(maps) -> None:
    linear = head(in_channels=[4, 6], in_index=[0, 1])
    both = linear.conv_seg(torch.cat(maps, dim=1))
    torch.testing.assert_close(linear(maps), both)
    assert linear((maps[0], torch.randn(2, 6, 1, 2))).shape == (2, 3, 3, 5)
