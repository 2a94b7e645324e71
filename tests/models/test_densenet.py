"""IBN-DenseNet against torchvision's, and a forward in functions."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ibnseg.models import IBN, IBNDenseNet
from ibnseg.models.complexity import STRIDE_8, of_backbone
from ibnseg.models.densenet import LAYERS

TINY = dict(growth_rate=4, stem_channels=10)
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def tiny(variant: str | None = None, depth: int = 121, **kwargs) -> IBNDenseNet:
    """A narrow network with random norms and statistics, so that no term vanishes."""
    torch.manual_seed(0)
    net = IBNDenseNet(depth, variant, **TINY, **kwargs)
    for module in net.modules():
        if isinstance(module, (BATCH_NORM, nn.InstanceNorm2d)):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, BATCH_NORM):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal(shape)).to(dtype)


# ---- what it computes ------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_plain_is_torchvisions(training):
    net = tiny().double().train(training)
    other = torchvision.models.DenseNet(4, LAYERS[121], 10, num_classes=1).double()
    other.load_state_dict(net.state_dict(), strict=False)
    x = images(2, 3, 64, 96)
    want = other.train(training).features(x).relu()
    torch.testing.assert_close(net(x)[-1], want, rtol=1e-12, atol=1e-12)


def functional(weights: dict, x: Tensor, strides, dilations, training: bool) -> list[Tensor]:
    """Four features by their state dict alone, as figure 1 of Huang et al. and IBN-Net say."""

    def conv(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = weights[f"features.{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)

    def batch(key: str, x: Tensor) -> Tensor:
        stats = (weights[f"{key}.running_mean"].clone(), weights[f"{key}.running_var"].clone())
        return F.batch_norm(x, *stats, weights[f"{key}.weight"], weights[f"{key}.bias"], training)

    def norm(name: str, x: Tensor) -> Tensor:
        key = f"features.{name}"
        if f"{key}.IN.weight" not in weights:
            return batch(key, x).relu()
        count = len(weights[f"{key}.BN.weight"])
        scale = dict(weight=weights[f"{key}.IN.weight"], bias=weights[f"{key}.IN.bias"])
        parts = batch(f"{key}.BN", x[:, :count]), F.instance_norm(x[:, count:], **scale)
        return torch.cat(parts, dim=1).relu()

    x = F.max_pool2d(norm("norm0", conv("conv0", x, stride=2)), 3, 2, 1)
    outs = []
    for i, count in enumerate(LAYERS[121]):
        for j in range(count):
            name = f"denseblock{i + 1}.denselayer{j + 1}"
            new = conv(f"{name}.conv1", norm(f"{name}.norm1", x))
            new = conv(f"{name}.conv2", norm(f"{name}.norm2", new), dilation=dilations[i])
            x = torch.cat([x, new], dim=1)
        outs.append(x := norm("norm5" if i == 3 else f"transition{i + 1}.norm", x))
        if i < 3:
            x = conv(f"transition{i + 1}.conv", x)
            x = F.avg_pool2d(x, 2) if strides[i + 1] == 2 else x
    return outs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layout",
    [dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)), STRIDE_8],
    ids=["stride32", "stride8"],
)
@pytest.mark.parametrize("variant", [None, "a"])
def test_forward(variant, layout, training):
    net = tiny(variant, **layout).double().train(training)
    x = images(2, 3, 64, 96)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    want = functional(weights, x, **layout, training=training)
    for own, reference in zip(net(x), want, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("layout", "strides"), [(dict(), (4, 8, 16, 32)), (STRIDE_8, (4, 8, 8, 8))]
)
@pytest.mark.parametrize(
    ("depth", "channels"),
    [
        (121, (256, 512, 1024, 1024)),
        (161, (384, 768, 2112, 2208)),
        (169, (256, 512, 1280, 1664)),
        (201, (256, 512, 1792, 1920)),
    ],
)
def test_shapes_of_the_features(depth, channels, layout, strides):
    with torch.device("meta"):
        net = IBNDenseNet(depth, "a", **layout)
        outs = net(torch.empty(2, 3, 64, 128))
        fine, coarse = IBNDenseNet(depth, out_indices=(1, 3))(torch.empty(2, 3, 64, 128))
    assert [out.shape[1] for out in outs] == list(channels)
    assert [tuple(out.shape[2:]) for out in outs] == [(64 // s, 128 // s) for s in strides]
    assert (fine.shape[1], coarse.shape[1]) == (channels[1], channels[3])
    assert net.feat_dim == channels[-1]


# ---- the docstring's numbers -------------------------------------------------------------------


def receptive_field(net: IBNDenseNet) -> int:
    """Of the last feature: the longest path goes through every layer."""
    size, jump = 1, 1

    def window(kernel: int, stride: int, dilation: int = 1) -> None:
        nonlocal size, jump
        size, jump = size + (kernel - 1) * dilation * jump, jump * stride

    for module in net.features.modules():
        if isinstance(module, nn.Conv2d):
            window(module.kernel_size[0], module.stride[0], module.dilation[0])
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            window(module.kernel_size, module.stride)
    return size


def test_receptive_field_and_operations_are_those_of_the_docstring():
    with torch.device("meta"):
        at_8, at_32 = IBNDenseNet(121, **STRIDE_8), IBNDenseNet(121)
    # stem 7 and 3 at strides 2; 3x3 by dense layer; 2x2 by transition
    by_hand = 11 + 6 * 2 * 4 + 4 + 12 * 2 * 8 + 8 + 24 * 2 * 16 + 16 + 16 * 2 * 32
    assert receptive_field(at_32) == by_hand == 2071
    assert receptive_field(at_8) == by_hand - 8 - 16 == 2047
    text = " ".join(IBNDenseNet.__doc__.split())
    assert "sees 2047 pixels square, 2071 at stride 32" in text
    assert f"{of_backbone('densenet121').flops / 1e9:.1f} GFLOPs for 512x1024" in text


# ---- where the normalisations are --------------------------------------------------------------


@pytest.mark.parametrize("depth", [121, 161, 169, 201])
def test_every_third_layer_of_three_blocks(depth):
    with torch.device("meta"):
        net = IBNDenseNet(depth, "a")
    for i, count in enumerate(LAYERS[depth]):
        layers = list(net.features.get_submodule(f"denseblock{i + 1}").values())
        found = [isinstance(layer.norm1, IBN) for layer in layers]
        assert found == [i < 3 and j % 3 == 0 for j in range(count)]
        assert not any(isinstance(layer.norm2, IBN) for layer in layers)
    first = net.features.denseblock1.denselayer1.norm1
    width = first.BN.num_features + first.IN.num_features
    assert (first.in_first, first.BN.num_features) == (False, int(0.6 * width))


def test_which_blocks_and_how_much():
    net = tiny("a", stages=(False, True, False, True), ratio=(0, 0.25, 0, 1))
    counts = [
        sum(isinstance(m, IBN) for m in net.features.get_submodule(f"denseblock{i}").modules())
        for i in range(1, 5)
    ]
    assert counts == [0, 4, 0, 6]
    quarter = net.features.denseblock2.denselayer1.norm1
    width = (10 + 6 * 4) // 2
    assert quarter.split == (int(width * 0.75), width - int(width * 0.75))
    assert net.features.denseblock4.denselayer1.norm1.BN.num_features == 0


@pytest.mark.parametrize("training", [False, True])
def test_ratio_0_is_plain_to_the_bit(training):
    other, net = tiny().train(training), tiny("a", ratio=0).train(training)
    net.load_state_dict(
        {
            key: value if ".IN." in key else other.state_dict()[key.replace(".BN.", ".")]
            for key, value in net.state_dict().items()
        }
    )
    x = images(2, 3, 64, 64, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(net(x), other(x), strict=True))


def test_ratio_1_is_in_to_the_bit():
    net = tiny("a", ratio=1).eval()
    other = deepcopy(net)
    for module in other.modules():
        if isinstance(getattr(module, "norm1", None), IBN):
            module.norm1 = module.norm1.IN
    x = images(2, 3, 64, 64, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(net(x), other(x), strict=True))


def test_norm_cfg_reaches_every_norm():
    cfg = dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)
    net = IBNDenseNet(121, "a", norm_cfg=cfg, **TINY)
    norms = [m for m in net.modules() if isinstance(m, (BATCH_NORM, nn.InstanceNorm2d))]
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in norms) == 1 + 2 * 58 + 3 + 1
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in norms) == 14
    assert {m.eps for m in norms} == {1e-3}
    assert {m.momentum for m in norms if isinstance(m, nn.SyncBatchNorm)} == {0.3}
    assert not any(p.requires_grad for m in norms for p in m.parameters())


# ---- modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [-1, 0, 2, 4])
def test_frozen_stages(stages):
    net = tiny("a", frozen_stages=stages)
    assert net.train() is net
    frozen = ["conv0.", "norm0."] if stages >= 0 else []
    frozen += [f"denseblock{i}." for i in range(1, stages + 1)]
    frozen += [f"transition{i}." for i in range(1, stages)]
    frozen += ["norm5."] * (stages == 4)
    for name, parameter in net.features.named_parameters():
        assert parameter.requires_grad is not name.startswith(tuple(frozen)), name
    before = deepcopy(dict(net.features.named_buffers()))
    net(images(2, 3, 64, 64, dtype=torch.float32))
    for name, buffer in net.features.named_buffers():
        assert torch.equal(buffer, before[name]) is name.startswith(tuple(frozen)), name


def test_norm_eval():
    net = tiny("a", norm_eval=True).train()
    before = deepcopy(net.state_dict())
    net(images(2, 3, 64, 64, dtype=torch.float32))
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_checkpointing_changes_nothing():
    results = []
    for with_cp in (False, True):
        net = tiny("a", with_cp=with_cp).double().train()
        calls = []
        layer = net.features.denseblock2.denselayer4
        layer.norm1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        x = images(2, 3, 64, 64).requires_grad_()
        outs = net(x)
        sum(out.sin().sum() for out in outs).backward()
        assert len(calls) == (2 if with_cp else 1)
        results.append([*outs, x.grad, *(p.grad for p in net.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-9, atol=1e-9)


# ---- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(depth=50), r"unknown depth 50, expected one of \(121, 161, 169, 201\)"),
        (dict(depth=121, variant="b"), r"unknown variant 'b', expected one of \(None, 'a'\)"),
        (dict(depth=121, variant="a", stages=(True,)), "expected 4 of True and False"),
        (dict(depth=121, variant="a", ratio=1.5), r"expected a number in \[0, 1\]"),
        (dict(depth=121, ratio=0.5), "needs a variant with IBN layers"),
        (dict(depth=121, strides=(2, 2, 2, 2)), "expected 4 of 1 and 2, the first of them 1"),
        (dict(depth=121, strides=(1, 2, 4, 1)), "expected 4 of 1 and 2"),
        (dict(depth=121, strides=(1, 2)), "expected 4 of 1 and 2"),
        (dict(depth=121, dilations=(1, 1, 0, 2)), "expected 4 integers of at least 1"),
        (dict(depth=121, dilations=(1, 1, 1.5, 2)), "expected 4 integers of at least 1"),
    ],
)
def test_wrong_input(kwargs, message):
    with pytest.raises(ValueError, match=f"^IBNDenseNet: .*{message}"):
        IBNDenseNet(**kwargs)
