"""IBN-ResNet against the published networks, mmseg's ResNet and a functional forward."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from ibnseg.models import IBN, IBNResNet

TINY = dict(base_channels=8, stem_channels=8)
DILATED = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
EARLY = dict(strides=(2, 1, 1, 2), dilations=(3, 2, 1, 1))  # dilated where 'b' normalises sums
VARIANTS = (None, "a", "b")
BATCH_NORM = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORM, nn.InstanceNorm2d)


@cache
def initialised(depth: int, variant: str | None, **kwargs) -> IBNResNet:
    torch.manual_seed(0)
    net = IBNResNet(depth, variant, **kwargs)
    net.init_weights()
    return net


def tiny(depth: int = 18, variant: str | None = None, **kwargs) -> IBNResNet:
    """A narrow network after ``init_weights``; the caller may change it."""
    return deepcopy(initialised(depth, variant, **TINY, **kwargs))


def randomise(net: nn.Module, seed: int = 0) -> None:
    """Random norms and running statistics, so that no term of a forward vanishes."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for key, value in module._parameters.items() if isinstance(module, NORMS) else ():
            base = 1.0 if key == "weight" else 0.0
            value.data.copy_(base + 0.2 * torch.randn(value.shape, generator=generator))
        if isinstance(module, BATCH_NORM):
            shape = module.running_mean.shape
            module.running_mean.copy_(0.2 * torch.randn(shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(shape, generator=generator))


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal(shape)).to(dtype)


def blocks(net: ResNet) -> list[nn.Module]:
    return [block for name in net.res_layers for block in getattr(net, name)]


def last_norm(block: nn.Module) -> nn.Module:
    return block.norm3 if hasattr(block, "conv3") else block.norm2


# ---- the published networks -----------------------------------------------------------------


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_state_dict_is_the_published_one(published, depth, variant):
    network = published[f"resnet{depth}_ibn_{variant}"]
    with torch.device("meta"):
        net = IBNResNet(depth, variant)
    own = [(key, list(value.shape)) for key, value in net.state_dict().items()]
    shapes = network["state_dict"]
    assert own == [(key, shape) for key, shape in shapes.items() if not key.startswith("fc.")]
    classifier = shapes["fc.weight"][0] * (shapes["fc.weight"][1] + 1)
    assert sum(p.numel() for p in net.parameters()) == network["parameters"] - classifier


@pytest.mark.parametrize(("depth", "variant"), [(18, "a"), (50, "a"), (50, "b")])
def test_features_are_the_published_ones(features, filled, depth, variant):
    name = f"resnet{depth}_ibn_{variant}"
    with torch.device("meta"):
        net = IBNResNet(depth, variant)
    net.load_state_dict(filled(name), strict=True, assign=True)
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 96, 128)))
    for mode in ("eval", "train"):
        with torch.no_grad():
            stages = net.train(mode == "train")(x)
        assert len(stages) == len(features[name][mode]) == 4
        for stage, want in zip(stages, features[name][mode].values(), strict=True):
            assert list(stage.shape) == want["shape"]
            assert stage.mean().item() == pytest.approx(want["mean"], rel=1e-9)
            assert stage.std(correction=0).item() == pytest.approx(want["std"], rel=1e-9)
            at, values = zip(*want["samples"], strict=True)
            np.testing.assert_allclose(stage.flatten()[list(at)], values, rtol=1e-9, atol=1e-11)


# ---- a forward in functions, from the state dict alone ---------------------------------------


def functional_norm(weights: dict, name: str, x: Tensor, training: bool) -> Tensor:
    """IBN, BN or IN, whichever the keys below ``name`` say."""

    def instance(key: str, part: Tensor) -> Tensor:
        return F.instance_norm(part, weight=weights[f"{key}.weight"], bias=weights[f"{key}.bias"])

    def batch(key: str, part: Tensor) -> Tensor:
        stats = (weights[f"{key}.running_mean"].clone(), weights[f"{key}.running_var"].clone())
        scale = (weights[f"{key}.weight"], weights[f"{key}.bias"])
        return F.batch_norm(part, *stats, *scale, training=training)

    if f"{name}.IN.weight" in weights:
        half = x.shape[1] // 2
        return torch.cat([instance(f"{name}.IN", x[:, :half]), batch(f"{name}.BN", x[:, half:])], 1)
    return (batch if f"{name}.running_mean" in weights else instance)(name, x)


def functional_resnet(weights, x, depth, variant, strides, dilations, training) -> list[Tensor]:
    """The four stages of an IBN-ResNet, as in figure 3 of the paper."""

    def conv(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)

    def norm(name: str, x: Tensor) -> Tensor:
        return functional_norm(weights, name, x, training)

    x = F.max_pool2d(norm("bn1", conv("conv1", x, 2)).relu(), 3, 2, 1)
    counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    outs = []
    for stage in range(4):
        for i in range(counts[stage]):
            name = f"layer{stage + 1}.{i}"
            stride, dilation = (strides[stage] if i == 0 else 1), dilations[stage]
            if depth == 18:
                out = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride, dilation)).relu()
                out = norm(f"{name}.bn2", conv(f"{name}.conv2", out))
            else:
                out = norm(f"{name}.bn1", conv(f"{name}.conv1", x)).relu()
                out = norm(f"{name}.bn2", conv(f"{name}.conv2", out, stride, dilation)).relu()
                out = norm(f"{name}.bn3", conv(f"{name}.conv3", out))
            if f"{name}.downsample.0.weight" in weights:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x = out + x
            if variant == "b" and stage < 2 and i == counts[stage] - 1:
                x = norm(f"{name}.IN", x)
            x = x.relu()
        outs.append(x)
    return outs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layout",
    [dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)), DILATED, EARLY],
    ids=["stride32", "stride8", "early"],
)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_forward(depth, variant, layout, training):
    net = tiny(depth, variant, **layout).double().train(training)
    randomise(net)
    x = images(2, 3, 64, 48, dtype=torch.float64)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    want = functional_resnet(weights, x, depth, variant, **layout, training=training)
    for own, reference in zip(net(x), want, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [18, 50])
def test_plain_resnet_is_torchvisions(depth):
    other = getattr(torchvision.models, f"resnet{depth}")(weights=None).double().eval()
    randomise(other)
    weights = {k: v for k, v in other.state_dict().items() if not k.startswith("fc.")}
    with torch.device("meta"):
        net = IBNResNet(depth)
    assert list(net.state_dict()) == list(weights)
    net.load_state_dict(weights, assign=True)
    x = want = images(1, 3, 64, 64, dtype=torch.float64)
    for name, module in other.named_children():
        if name == "avgpool":
            break
        want = module(want)
    torch.testing.assert_close(net.eval()(x)[-1], want, rtol=1e-9, atol=1e-9)


# ---- mmseg's ResNet --------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "kwargs",
    [
        dict(),
        DILATED,
        dict(DILATED, deep_stem=True, avg_down=True),
        dict(DILATED, contract_dilation=True, multi_grid=(1, 2, 4), out_indices=(1, 3)),
        dict(num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2)),
    ],
    ids=["plain", "stride8", "deep_stem", "multi_grid", "three_stages"],
)
@pytest.mark.parametrize("depth", [18, 50])
def test_without_variant_equals_mmseg(depth, kwargs, training):
    if depth == 18 and "multi_grid" in kwargs:
        kwargs = dict(kwargs, multi_grid=(1, 2))
    net = tiny(depth, **kwargs).train(training)
    randomise(net)
    other = ResNet(depth=depth, **TINY, **kwargs)
    other.load_state_dict(net.state_dict(), strict=True)
    other.train(training)
    x = images(2, 3, 64, 48)
    own, theirs = net(x), other(x)
    assert len(own) == len(theirs) == len(kwargs.get("out_indices", range(4)))
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
    pairs = zip(net.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("depth", [18, 50])
def test_same_seed_same_weights_as_mmseg(depth):
    torch.manual_seed(0)
    other = ResNet(depth=depth, **TINY)
    other.init_weights()
    pairs = zip(tiny(depth).state_dict().items(), other.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


# ---- initialisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_residual(depth, variant, zero):
    net = tiny(depth, variant, zero_init_residual=zero)
    last = {last_norm(block) for block in blocks(net)}
    assert len(last) == {18: 8, 50: 16}[depth]
    for module in net.modules():
        if isinstance(module, NORMS):
            weight = 0 if zero and module in last else 1
            assert (module.weight == weight).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize("variant", ["a", "b"])
def test_zero_init_makes_blocks_the_identity(variant):
    """With nothing added, the last block of a stage of 'b' is its normalisation alone."""
    net = tiny(18, variant).eval()
    x = images(2, 8, 6, 7).relu()
    want = F.instance_norm(x).relu() if variant == "b" else x
    torch.testing.assert_close(net.layer1[-1](x), want)
    x = images(2, 32, 6, 7).relu()
    torch.testing.assert_close(net.layer3[-1](x), x)


# ---- freezing and modes ------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [-1, 0, 1, 2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_frozen_stages(variant, stages):
    net = tiny(18, variant, frozen_stages=stages).train()
    frozen = ["conv1.", "bn1."] if stages >= 0 else []
    frozen = (*frozen, *(f"layer{i}." for i in range(1, stages + 1)))
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad is not name.startswith(frozen), name
    for name, module in net.named_modules():
        if isinstance(module, (*NORMS, IBN)):
            assert module.training is not f"{name}.".startswith(frozen), name

    before = deepcopy(net.state_dict())
    assert net(images(2, 3, 64, 64))[-1].requires_grad is (stages < 4)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name]) is name.startswith(frozen), name


@pytest.mark.parametrize("variant", ["a", "b"])
def test_frozen_deep_stem(variant):
    net = tiny(18, variant, deep_stem=True, frozen_stages=0).train()
    assert not any(module.training for module in net.stem.modules())
    assert not any(parameter.requires_grad for parameter in net.stem.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_norm_eval(variant):
    net = tiny(18, variant, norm_eval=True)
    before = deepcopy(net.state_dict())
    net.train()(images(2, 3, 64, 64))
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_train_returns_the_network(variant):
    net = tiny(18, variant)
    assert net.train() is net
    assert net.training
    assert net.eval() is net
    assert not net.training
    assert not any(module.training for module in net.modules())
    assert net.train(True).train(False) is net
    assert not net.training


# ---- options ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:torch.utils.checkpoint:UserWarning")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_checkpointing_changes_nothing(depth, variant):
    results = []
    for with_cp in (False, True):
        net = tiny(depth, variant, with_cp=with_cp).double().train()
        randomise(net)
        calls = []
        for block in blocks(net):
            block.conv1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        x = images(2, 3, 64, 64, dtype=torch.float64).requires_grad_()
        outs = net(x)
        assert len(calls) == len(blocks(net))
        sum(out.sin().sum() for out in outs).backward()
        assert len(calls) == len(blocks(net)) * (2 if with_cp else 1)  # run again backwards
        results.append([*outs, x.grad, *(p.grad for p in net.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_norms_of_a_deep_stem(variant):
    net = IBNResNet(18, variant, deep_stem=True, norm_cfg=dict(type="BN", eps=0.5), **TINY)
    norms = [layer for layer in net.stem if isinstance(layer, NORMS)]
    kind = nn.InstanceNorm2d if variant == "b" else nn.BatchNorm2d
    assert [type(norm) for norm in norms] == [kind] * 3
    assert [norm.num_features for norm in norms] == [4, 4, 8]
    assert all(norm.affine and norm.eps == 0.5 for norm in norms)

    net.double().eval()
    x = images(2, 3, 16, 16, dtype=torch.float64)
    want = x
    for i, stride in ((0, 2), (3, 1), (6, 1)):
        want = F.conv2d(want, net.stem[i].weight, stride=stride, padding=1)
        # a new BN in eval mode has mean 0 and variance 1
        want = F.instance_norm(want, eps=0.5) if variant == "b" else want / 1.5**0.5
        want = want.relu()
    torch.testing.assert_close(net.stem(x), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_norm_cfg_reaches_every_norm(variant):
    cfg = dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)
    net = IBNResNet(18, variant, norm_cfg=cfg, **TINY)
    batch = [m for m in net.modules() if isinstance(m, BATCH_NORM)]
    assert all(isinstance(m, nn.SyncBatchNorm) for m in batch)
    assert {m.momentum for m in batch} == {0.3}
    norms = [m for m in net.modules() if isinstance(m, NORMS)]
    assert {m.eps for m in norms} == {1e-3}
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    if variant == "a":
        assert isinstance(net.layer1[0].bn1.BN, nn.SyncBatchNorm)
        assert isinstance(net.layer4[0].bn1, nn.SyncBatchNorm)
    assert cfg == dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_where_the_normalisations_are(depth):
    a, b = IBNResNet(depth, "a", **TINY), IBNResNet(depth, "b", **TINY)
    for stage in range(1, 5):
        own = getattr(a, f"layer{stage}")
        assert all(isinstance(block.norm1, IBN) is (stage <= 3) for block in own)
        assert not any(isinstance(block.norm2, IBN) for block in own)
        own = getattr(b, f"layer{stage}")
        summed = [hasattr(block, "IN") for block in own]
        assert summed == [False] * (len(own) - 1) + [stage <= 2]
    assert type(a.norm1) is nn.BatchNorm2d
    assert type(b.norm1) is nn.InstanceNorm2d
    assert not any(isinstance(module, NORMS[1]) for module in IBNResNet(18, **TINY).modules())


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_output_stride_8(depth, variant, size):
    net = tiny(depth, variant, **DILATED, out_indices=(3, 0)).eval()
    height, width = size
    expansion = {18: 1, 50: 4}[depth]
    with torch.no_grad():
        fine, coarse = net(images(1, 3, *size))
    assert fine.shape == (1, 8 * expansion, -(-height // 4), -(-width // 4))
    assert coarse.shape == (1, 64 * expansion, -(-height // 8), -(-width // 8))


# ---- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["e", "A", "", "ab", 1, True, ["a"]])
def test_unknown_variant(variant):
    with pytest.raises(ValueError, match="variant"):
        IBNResNet(18, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_unknown_depth(variant):
    with pytest.raises(
        ValueError, match=r"unknown depth 20, expected one of \(18, 34, 50, 101, 152\)"
    ):
        IBNResNet(20, variant)


def test_no_plugins_in_the_first_stages_of_b():
    plugin = dict(cfg=dict(type="ContextBlock", ratio=0.25), position="after_conv3")
    first = dict(plugin, stages=(False, True, False, False))
    with pytest.raises(ValueError, match="plugins"):
        IBNResNet(50, "b", plugins=[first], **TINY)


def test_multi_grid_reaches_a_last_stage_that_is_normalised():
    """With two stages the last one of variant b has both multi-grid dilations and IN."""
    net = IBNResNet(
        18,
        variant="b",
        num_stages=2,
        strides=(1, 1),
        dilations=(1, 2),
        out_indices=(1,),
        multi_grid=(2, 4),
    )
    assert [block.conv1.dilation for block in net.layer2] == [(2, 2), (4, 4)]
    assert isinstance(net.layer2[-1].IN, nn.InstanceNorm2d)


def test_synchronised_statistics_reach_the_ibn_layers():
    """What ``sync_bn = 'torch'`` does to every BN, that inside of IBN too, and to no IN."""
    from mmengine.model.utils import convert_sync_batchnorm

    net = convert_sync_batchnorm(IBNResNet(18, variant="a"), "torch")
    ibn = net.layer1[0].bn1
    assert isinstance(ibn.BN, nn.SyncBatchNorm)
    assert isinstance(ibn.IN, nn.InstanceNorm2d)
    left = [m for m in net.modules() if type(m) is nn.BatchNorm2d]
    assert left == []
