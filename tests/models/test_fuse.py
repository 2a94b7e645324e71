"""Networks whose BN is folded into convolutions against the same networks as they were."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ibnseg.models import IBN, IBNDenseNet, IBNResNet, kernels
from ibnseg.models.fuse import Folded, InstanceHalf, fuse
from ibnseg.models.variants import VARIANTS
from tests.models import tiny
from tests.models.cases import case

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def trained(network: nn.Module) -> nn.Module:
    """The network in eval mode, with random statistics and affine parameters."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (_BatchNorm, nn.InstanceNorm2d)):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                if tensor is not None:
                    positive = tensor is module.weight or tensor is module.running_var
                    low, high = (0.5, 2) if positive else (-0.5, 0.5)
                    tensor.data.uniform_(low, high, generator=generator)
    return network.eval()


def assert_same(network: nn.Module, fused: nn.Module, x: torch.Tensor) -> None:
    with torch.inference_mode():
        want, got = network(x), fused(x)
    for a, b in zip(*(y if isinstance(y, tuple) else (y,) for y in (want, got)), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
        assert b.stride() == a.stride()


def count(network: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_residual_networks_of_all_variants_compute_the_same(variant, depth):
    small = dict(base_channels=8, stem_channels=8, norm_cfg=dict(type="SyncBN"))
    network = trained(IBNResNet(depth, variant, deep_stem=depth == 18, **small).double())
    fused = fuse(copy.deepcopy(network))
    # BN beside IN of the same channels, and that of the sums
    left = {"c": 6 if depth == 18 else 13, "d": 2, "a&d": 2}
    assert count(fused, _BatchNorm) == left.get(variant, 0)
    for layout in LAYOUTS:
        x = tiny.images(2, 3, 64, 64).double().contiguous(memory_format=layout)
        assert_same(network, fused, x)


def test_densenet_folds_what_follows_a_convolution_and_keeps_the_rest():
    network = trained(IBNDenseNet(121, "a", growth_rate=4, stem_channels=8).double())
    fused = fuse(copy.deepcopy(network))
    assert count(fused, Folded) == 58 + 1  # norm2 of each layer, and the stem's
    assert count(fused, IBN) == count(network, IBN) > 0
    assert_same(network, fused, tiny.images(2, 3, 64, 64).double())


@pytest.mark.parametrize("in_first", [True, False])
@pytest.mark.parametrize("ratio", [0, 0.3, 1])
def test_ibn_behind_a_convolution_computes_the_same(in_first, ratio):
    layers = [nn.Conv2d(3, 10, 3, padding=1, bias=in_first), IBN(10, ratio, in_first=in_first)]
    network = trained(nn.Sequential(*layers).double())
    fused = fuse(copy.deepcopy(network))
    assert isinstance(fused[1], IBN if ratio == 1 else InstanceHalf)
    for layout in LAYOUTS:
        for images in (1, 3):
            with case(layout=layout, images=images):
                x = tiny.images(images, 3, 7, 9).double().contiguous(memory_format=layout)
                assert_same(network, fused, x)
    x = tiny.images(2, 3, 7, 9).double()
    grads = []
    for each in (network, fused):
        inputs = x.clone().requires_grad_()
        each(inputs).square().sum().backward()
        grads.append(inputs.grad)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("in_first", [True, False])
def test_ibn_in_parts_gives_the_bits_that_it_gives_at_once(in_first, monkeypatch):
    ibn = trained(IBN(14, in_first=in_first))
    own = slice(0, 7) if in_first else slice(7, 14)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        ibn = ibn.to(torch.promote_types(dtype, torch.float32))
        for images in (1, 5):
            x = tiny.images(images, 14, 5, 6).to(dtype)
            want = x.clone()
            want[:, own] = F.group_norm(x[:, own], 7, ibn.IN.weight, ibn.IN.bias, ibn.IN.eps)
            for planes in (1, 3, 7, 15, 1000):
                with case(dtype=dtype, images=images, planes=planes):
                    size = planes * 5 * 6 * x.element_size()
                    monkeypatch.setattr(kernels, "CHUNK", size // torch.get_num_threads())
                    with torch.inference_mode():
                        assert torch.equal(InstanceHalf(ibn).eval()(x.clone()), want)
                        assert torch.equal(ibn(x)[:, own], want[:, own])


def test_a_fused_network_can_be_exported():
    network = trained(nn.Sequential(nn.Conv2d(3, 10, 3), IBN(10)))
    x = tiny.images(2, 3, 7, 9)
    exported = torch.export.export(fuse(copy.deepcopy(network)), (x,)).module()
    torch.testing.assert_close(exported(x), network(x))


def test_a_segmentor_with_mmcvs_modules_gives_the_same_logits():
    head = tiny.head_cfg(num_convs=2, concat_input=True, norm_cfg=dict(type="BN"))
    network = trained(tiny.build(head))
    fused = fuse(copy.deepcopy(network))
    assert count(network.decode_head, ConvModule) == 3
    assert count(fused, _BatchNorm) == 0
    x = tiny.images(2, 3, 64, 64)
    with torch.inference_mode():
        want, got = (each.encode_decode(x) for each in (network, fused))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.std().item())


def test_bfloat16_is_as_near_to_float64_fused_as_not():
    network = trained(IBNResNet(18, "a", base_channels=8, stem_channels=8))
    fused = fuse(copy.deepcopy(network))
    x = tiny.images(2, 3, 64, 64)
    with torch.inference_mode():
        want = copy.deepcopy(network).double()(x.double())[-1]
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(each(x)[-1].double() - want).square().mean() for each in (network, fused)]
    assert errors[1] < 1.5 * errors[0]


def test_what_would_change_elsewhere_is_not_folded():
    shared = nn.Conv2d(3, 3, 1)
    hooked = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    hooked[0].register_forward_hook(lambda *args: None)
    half = nn.Sequential(nn.Conv2d(3, 4, 1), IBN(4))
    half[1].IN.register_forward_hook(lambda *args: None)
    for name, network in {
        "a convolution that is used twice": nn.Sequential(
            nn.Sequential(shared, nn.BatchNorm2d(3)), nn.Sequential(shared, nn.BatchNorm2d(3))
        ),
        "a hook": hooked,
        "a hook on IN": half,
        "batch statistics": nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
        ),
        "not neighbours": nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        "a transposed convolution": nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.BatchNorm2d(4)),
        "norm first": ConvModule(3, 4, 1, norm_cfg=dict(type="BN"), order=("norm", "conv", "act")),
        "parametrised": nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)
        ),
    }.items():
        with case(name=name):
            assert count(fuse(trained(network)), Folded) == 0
            assert all(not p.requires_grad for p in network.parameters())


def test_a_fused_network_is_neither_trained_nor_saved_nor_loaded():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    weights = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="eval"):
        fuse(copy.deepcopy(network).train())
    fused = fuse(network)
    assert fused is network
    for refused in (fused.train, fused.state_dict, lambda: fused.load_state_dict(weights)):
        with pytest.raises(RuntimeError, match="load it again"):
            refused()
    assert not fused.eval().training
    torch.save(copy.deepcopy(fused), io.BytesIO())


def test_one_pixel_is_refused_as_by_the_layer_itself():
    fused = fuse(trained(nn.Sequential(nn.Conv2d(3, 4, 1), IBN(4))))
    with pytest.raises(ValueError, match="spatial"):
        fused(torch.zeros(1, 3, 1, 1))
