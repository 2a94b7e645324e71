"""VFMNet's head against its formula, and the count of its weights at full width."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ibnseg.models import LightHead
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError
from tests.models.tiny import CROSS_ENTROPY


def build(width: int, maps: int = 4, classes: int = 19) -> LightHead:
    places = list(range(maps))
    cfg = dict(in_channels=[width] * maps, in_index=places, num_classes=classes)
    cfg.update(loss_decode=CROSS_ENTROPY)
    return MODELS.build(dict(type="ibnseg.LightHead", **cfg))


def test_at_the_width_of_vit_l_its_layers_have_1024_512_and_256_channels() -> None:
    with torch.device("meta"):
        head = build(1024)
        logits = head([torch.zeros(1, 1024, 32, 32)] * 4)
    assert logits.shape == (1, 19, 128, 128)
    first = 4 * 1024 * 1024 + 2 * 1024  # a convolution without bias, and GN
    second = 1024 * 512 * 4 + 512 + 2 * 512
    third = 512 * 256 * 4 + 256
    assert sum(p.numel() for p in head.parameters()) == first + second + third + 256 * 19 + 19
    assert head.joined.norm.num_groups == 32


def test_the_forward_pass_equals_the_formula_in_float64() -> None:
    torch.manual_seed(0)
    head = build(32, maps=2, classes=3).double().eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    up, norm, _, last, _ = head.enlarged
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    maps = torch.randn(2, 2, 32, 3, 4, dtype=torch.float64)

    x = torch.einsum("oc,nchw->nohw", head.joined.conv.weight[..., 0, 0], torch.cat([*maps], 1))
    x = F.group_norm(x, 32, head.joined.norm.weight, head.joined.norm.bias, 1e-5).clamp(min=0)
    x = doubled(x, up)
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    x = (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    x = gelu(doubled(gelu(x), last))
    expected = torch.einsum("oc,nchw->nohw", head.conv_seg.weight[..., 0, 0], x)
    expected += head.conv_seg.bias[:, None, None]
    found = head([*maps])
    assert found.shape == (2, 3, 12, 16)
    torch.testing.assert_close(found, expected)


def doubled(x: torch.Tensor, conv: torch.nn.ConvTranspose2d) -> torch.Tensor:
    """A transposed convolution whose stride is its side: each pixel becomes a block of four."""
    blocks = torch.einsum("nchw,coij->nohiwj", x, conv.weight)
    return blocks.flatten(4, 5).flatten(2, 3) + conv.bias[:, None, None]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def test_maps_of_several_sizes_as_of_a_pyramid_are_refused() -> None:
    head = LightHead([32, 32], in_index=[0, 1], num_classes=3)
    maps = torch.zeros(1, 32, 8, 16), torch.zeros(1, 32, 4, 8)
    with pytest.raises(UserError, match="LightHead: the maps are of 16x8, 8x4, expected one size"):
        head(maps)


@pytest.mark.parametrize("channels", [[32, 64], [48, 48], 32])
def test_maps_of_other_widths_are_refused(channels: list[int] | int) -> None:
    with pytest.raises(ValueError, match="LightHead: in_channels=.*the same multiple of 32"):
        LightHead(channels, in_index=[0, 1], num_classes=3)
