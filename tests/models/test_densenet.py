"""IBN-DenseNet against the published networks, torchvision's and a functional forward."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ibnseg.models import IBN, IBNDenseNet
from ibnseg.models.densenet import LAYERS
from tests.models.cases import case

TINY = dict(growth_rate=4, stem_channels=8)
STRIDE_8 = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
LAYOUTS = {
    "stride32": dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)),
    "stride16": dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    "stride8": STRIDE_8,
    "early": dict(strides=(1, 1, 2, 1), dilations=(3, 2, 1, 1)),
}
BATCH_NORM = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORM, nn.InstanceNorm2d)


@cache
def initialised(variant: str | None, **kwargs) -> IBNDenseNet:
    torch.manual_seed(0)
    net = IBNDenseNet(121, variant, **TINY, **kwargs)
    net.init_weights()
    return net


def tiny(variant: str | None = None, **kwargs) -> IBNDenseNet:
    """A narrow DenseNet121 whose norms and running statistics are random; it may be changed."""
    net = deepcopy(initialised(variant, **kwargs))
    randomise(net)
    return net


def randomise(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)

    def fill(tensor: Tensor, base: float) -> None:
        tensor.data.copy_(base + 0.2 * torch.randn(tensor.shape, generator=generator))

    for module in net.modules():
        if isinstance(module, NORMS):
            fill(module.weight, 1)
            fill(module.bias, 0)
        if isinstance(module, BATCH_NORM):
            fill(module.running_mean, 0)
            fill(module.running_var, 1.5)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal(shape)).to(dtype)


@cache
def on_meta(depth: int, variant: str | None = None, **kwargs) -> IBNDenseNet:
    """A network of the usual width, to look at."""
    with torch.device("meta"):
        return IBNDenseNet(depth, variant, **kwargs)


def dense_layers(net: IBNDenseNet, block: int) -> list[nn.Module]:
    return list(net.features.get_submodule(f"denseblock{block}").values())


# ---- the published networks ------------------------------------------------------------------


def test_plain_state_dict_is_torchvisions():
    for depth in [121, 161]:
        with case(depth=depth):
            with torch.device("meta"):
                other = getattr(torchvision.models, f"densenet{depth}")(weights=None)
            theirs = {
                k: v.shape for k, v in other.state_dict().items() if not k.startswith("classifier.")
            }
            own = on_meta(depth).state_dict()
            assert [(key, value.shape) for key, value in own.items()] == list(theirs.items())


def test_plain_network_is_torchvisions():
    other = torchvision.models.densenet121(weights=None).double().eval()
    randomise(other)
    with torch.device("meta"):
        net = IBNDenseNet(121)
    weights = {k: v for k, v in other.state_dict().items() if not k.startswith("classifier.")}
    net.load_state_dict(weights, assign=True)
    x = images(1, 3, 64, 96)
    with torch.no_grad():
        got, want = net.eval()(x), other.features(x).relu()
    torch.testing.assert_close(got[-1], want, rtol=1e-12, atol=1e-12)


def test_same_seed_same_weights_as_torchvision():
    torch.manual_seed(3)
    other = torchvision.models.DenseNet(4, LAYERS[121], 8, num_classes=1)
    torch.manual_seed(3)
    net = IBNDenseNet(121, **TINY)
    net.init_weights()
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())


# ---- a forward in functions, from the state dict alone ---------------------------------------


def functional_densenet(weights, x, strides, dilations, training) -> list[Tensor]:
    """The four features of a DenseNet121, with IBN where the keys say so."""

    def batch(name: str, x: Tensor) -> Tensor:
        stats = (weights[f"{name}.running_mean"].clone(), weights[f"{name}.running_var"].clone())
        return F.batch_norm(
            x, *stats, weights[f"{name}.weight"], weights[f"{name}.bias"], training=training
        )

    def norm(name: str, x: Tensor) -> Tensor:
        if f"{name}.IN.weight" not in weights:
            return batch(name, x)
        count = len(weights[f"{name}.BN.weight"])
        scale = (weights[f"{name}.IN.weight"], weights[f"{name}.IN.bias"])
        instance = F.instance_norm(x[:, count:], weight=scale[0], bias=scale[1])
        return torch.cat([batch(f"{name}.BN", x[:, :count]), instance], 1)

    def conv(name: str, x: Tensor, **kwargs) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], **kwargs)

    x = conv("features.conv0", x, stride=2, padding=3)
    x = F.max_pool2d(norm("features.norm0", x).relu(), 3, 2, 1)
    outs = []
    for block, (count, dilation) in enumerate(zip((6, 12, 24, 16), dilations, strict=True), 1):
        if block > 1:
            x = conv(f"features.transition{block - 1}.conv", x)
            x = F.avg_pool2d(x, 2) if strides[block - 1] == 2 else x
        for i in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{i}"
            new = conv(f"{name}.conv1", norm(f"{name}.norm1", x).relu())
            new = norm(f"{name}.norm2", new).relu()
            new = conv(f"{name}.conv2", new, padding=dilation, dilation=dilation)
            x = torch.cat([x, new], 1)
        behind = "features.norm5" if block == 4 else f"features.transition{block}.norm"
        x = norm(behind, x).relu()
        outs.append(x)
    return outs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("variant", "layout"), [(None, "stride8"), *(("a", layout) for layout in LAYOUTS)]
)
def test_the_forward_pass_equals_one_written_out_in_full(variant, layout, training):
    net = tiny(variant, **LAYOUTS[layout]).double().train(training)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    x = images(2, 3, 64, 96)
    with torch.no_grad():
        want = functional_densenet(weights, x, **LAYOUTS[layout], training=training)
        got = net(x)
    assert len(got) == 4
    for own, reference in zip(got, want, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-9, atol=1e-9)
    assert any("IN" in key for key in weights) is (variant == "a")


def test_gradients_are_those_of_the_functional_forward():
    """Nothing that the backward pass needs is overwritten in place."""
    net = tiny("a", **STRIDE_8).double().train()
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    leaves = {k: weights[k].requires_grad_() for k, _ in net.named_parameters()}
    x = images(2, 3, 48, 48)
    total = sum(o.sin().sum() for o in functional_densenet(weights, x, **STRIDE_8, training=True))
    total.backward()
    sum(out.sin().sum() for out in net(x)).backward()
    for key, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[key].grad, rtol=1e-7, atol=1e-7)


# ---- sizes -----------------------------------------------------------------------------------


def test_features_have_the_strides_of_their_layout():
    for layout, strides in [
        ("stride32", (4, 8, 16, 32)),
        ("stride16", (4, 8, 16, 16)),
        ("stride8", (4, 8, 8, 8)),
        ("early", (4, 4, 8, 8)),
    ]:
        with case(layout=layout, strides=strides):
            with torch.no_grad():
                outs = tiny("a", **LAYOUTS[layout]).eval()(torch.zeros(1, 3, 64, 128))
            assert [tuple(out.shape[2:]) for out in outs] == [(64 // s, 128 // s) for s in strides]


def test_features_have_the_published_channels_at_every_depth():
    for depth, channels in [
        (121, (256, 512, 1024, 1024)),
        (161, (384, 768, 2112, 2208)),
        (169, (256, 512, 1280, 1664)),
        (201, (256, 512, 1792, 1920)),
    ]:
        with case(depth=depth, channels=channels):
            net = on_meta(depth, "a")
            outs = net(torch.empty(1, 3, 64, 128, device="meta"))
            assert tuple(out.shape[1] for out in outs) == channels == net.out_channels


def test_out_indices_pick_features_in_their_order():
    for indices in [(3,), [0, 2], (3, 1)]:
        with case(indices=indices):
            x = images(1, 3, 64, 64)
            with torch.no_grad():
                every = tiny("a").double().eval()(x)
                some = tiny("a", out_indices=tuple(indices)).double().eval()(x)
            assert len(some) == len(indices)
            assert all(torch.equal(a, every[i]) for a, i in zip(some, sorted(indices), strict=True))


# ---- where the IBN layers are ----------------------------------------------------------------


def test_every_third_dense_layer_has_ibn_as_published(published):
    for depth in [121, 161, 169, 201]:
        with case(depth=depth):
            net, shapes = on_meta(depth, "a"), published[f"densenet{depth}_ibn_a"]["state_dict"]
            found = {name: m for name, m in net.named_modules() if isinstance(m, IBN)}
            assert list(found) == [
                f"features.denseblock{block}.denselayer{i}.norm1"
                for block, count in enumerate(LAYERS[depth][:3], 1)
                for i in range(1, count + 1, 3)
            ]
            for name, layer in found.items():
                assert not layer.in_first
                (batch,), (instance,) = shapes[f"{name}.BN.weight"], shapes[f"{name}.IN.weight"]
                assert layer.split == (batch, instance)
                assert layer.BN.num_features == batch == int((batch + instance) * 0.6)
                assert layer.IN.num_features == instance
            others = [m for name, m in net.named_modules() if isinstance(m, nn.InstanceNorm2d)]
            assert len(others) == len(found)


def test_each_stage_is_switched_by_its_own_flag():
    for stages in [
        (False,) * 4,
        (True, False, False, False),
        (False, True, False, True),
        [True] * 4,
    ]:
        with case(stages=stages):
            net = IBNDenseNet(121, "a", stages=stages, **TINY)
            for block, has in enumerate(stages, 1):
                kinds = [isinstance(layer.norm1, IBN) for layer in dense_layers(net, block)]
                assert kinds == [has and i % 3 == 0 for i in range(len(kinds))]


def test_each_block_has_its_own_ratio():
    for ratio in [0.25, (0, 0.5, 1, 0.3)]:
        with case(ratio=ratio):
            net = IBNDenseNet(121, "a", stages=(True,) * 4, ratio=ratio, **TINY)
            for block, share in enumerate([ratio] * 4 if isinstance(ratio, float) else ratio, 1):
                for layer in dense_layers(net, block)[::3]:
                    channels = layer.conv1.in_channels
                    batch = int(channels * (1 - share))
                    assert layer.norm1.split == (batch, channels - batch)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("ratio", "half"), [(0, "BN"), (1.0, "IN")])
def test_ratios_0_and_1_are_plain_norms_to_the_bit(ratio, half, training):
    """Plain BN and plain IN, to the bit."""
    net = tiny("a", ratio=ratio).train(training)
    other = deepcopy(net)
    for block in (1, 2, 3):
        for layer in dense_layers(other, block)[::3]:
            layer.norm1 = getattr(layer.norm1, half)
            assert layer.norm1.num_features == layer.conv1.in_channels
    if half == "BN":  # the same as the network without IBN layers
        weights = other.state_dict()
        other = tiny(None)
        other.load_state_dict(weights, strict=True)
        other.train(training)
    x = images(2, 3, 64, 64, dtype=torch.float32)
    with torch.no_grad():
        pairs = list(zip(net(x), other(x), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)


# ---- options ---------------------------------------------------------------------------------


def test_norm_cfg_reaches_every_norm():
    for variant in [None, "a"]:
        with case(variant=variant):
            cfg = dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)
            net = IBNDenseNet(121, variant, norm_cfg=cfg, **TINY)
            batch = [m for m in net.modules() if isinstance(m, BATCH_NORM)]
            assert len(batch) == 1 + 2 * 58 + 3 + 1  # stem, dense layers, transitions, end
            assert all(isinstance(m, nn.SyncBatchNorm) for m in batch)
            assert {m.momentum for m in batch} == {0.3}
            norms = [m for m in net.modules() if isinstance(m, NORMS)]
            assert len(norms) == len(batch) + (14 if variant else 0)
            assert {m.eps for m in norms} == {1e-3}
            assert not any(p.requires_grad for m in norms for p in m.parameters())
            assert cfg == dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)


def test_frozen_stages_neither_train_nor_change():
    for stages in [-1, 0, 1, 2, 3, 4]:
        with case(stages=stages):
            net = IBNDenseNet(121, "a", frozen_stages=stages, **TINY)
            frozen = ["conv0.", "norm0."] if stages >= 0 else []
            frozen += [f"denseblock{i}." for i in range(1, stages + 1)]
            frozen += [f"transition{i}." for i in range(1, stages)]
            frozen = tuple(
                f"features.{name}" for name in [*frozen, *(["norm5."] if stages == 4 else [])]
            )
            for _ in range(2):
                net.train()
                for name, parameter in net.named_parameters():
                    assert parameter.requires_grad is not name.startswith(frozen), name
                for name, module in net.named_modules():
                    if isinstance(module, (*NORMS, IBN)):
                        assert module.training is not f"{name}.".startswith(frozen), name
                net.eval()
            net.train()
            before = deepcopy(net.state_dict())
            assert net(images(2, 3, 64, 64, dtype=torch.float32))[-1].requires_grad is (stages < 4)
            for name, buffer in net.named_buffers():
                assert torch.equal(buffer, before[name]) is name.startswith(frozen), name


def test_norm_eval_keeps_all_statistics():
    net = IBNDenseNet(121, "a", norm_eval=True, **TINY)
    before = deepcopy(net.state_dict())
    net.train()(images(2, 3, 64, 64, dtype=torch.float32))
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_train_and_eval_return_the_network_itself():
    for kwargs in [dict(), dict(frozen_stages=2), dict(norm_eval=True)]:
        with case(kwargs=kwargs):
            net = IBNDenseNet(121, "a", **kwargs, **TINY)
            assert net.train() is net
            assert net.training
            assert net.eval() is net
            assert not any(module.training for module in net.modules())
            assert net.train(True).train(False) is net


def test_gradient_checkpointing_changes_no_value():
    results = []
    for with_cp in (False, True):
        net = tiny("a", with_cp=with_cp).double().train()
        calls = []
        layers = [layer for block in range(1, 5) for layer in dense_layers(net, block)]
        for layer in layers:
            layer.norm1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        outs = net(images(2, 3, 64, 64))
        assert len(calls) == 58
        sum(out.sin().sum() for out in outs).backward()
        assert len(calls) == 58 * (2 if with_cp else 1)  # run again backwards
        assert layers[0].norm1.BN.num_batches_tracked == (2 if with_cp else 1)
        results.append([*outs, *(p.grad for p in net.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-9, atol=1e-9)


# ---- cost ------------------------------------------------------------------------------------


def receptive_field(net: IBNDenseNet) -> int:
    """Of the last feature: each layer adds the extent of its kernel, in pixels of the image.

    The longest path goes through every layer, in the order in which the modules are.
    """
    size, stride = 1, 1
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            kernel, step, dilation = (
                np.broadcast_to(getattr(module, key, 1), 2)[1]
                for key in ("kernel_size", "stride", "dilation")
            )
            size += (kernel - 1) * dilation * stride
            stride *= step
    return int(size)


@pytest.mark.parametrize("layout", ["stride32", "stride8"])
def test_the_receptive_field_is_where_the_gradient_is_not_zero(layout):
    net = IBNDenseNet(121, growth_rate=1, stem_channels=2, **LAYOUTS[layout]).double().eval()
    net.features.pool0 = nn.AvgPool2d(3, 2, 1)  # all of the window counts
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.5)
    x = torch.ones(1, 3, 4 * 32, 4096, dtype=torch.float64, requires_grad=True)
    last = net(x)[-1]
    last[0, :, last.shape[2] // 2, last.shape[3] // 2].sum().backward()
    (columns,) = x.grad.abs().amax(dim=(0, 1, 2)).nonzero(as_tuple=True)
    assert columns[-1] - columns[0] + 1 == receptive_field(net)
    assert columns[0] > 0
    assert columns[-1] < 4095


def flops(net: nn.Module, height: int, width: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    counts = counter.get_flop_counts()["Global"]
    assert list(counts) == [torch.ops.aten.convolution]
    return counts[torch.ops.aten.convolution]


def test_operations_of_the_first_layers_by_hand():
    """The first layers of an image of 32 x 64: two operations a product and sum."""
    net = IBNDenseNet(121, **TINY)
    sizes, layers = [], ("conv0", "denseblock1.denselayer2.conv1", "denseblock1.denselayer2.conv2")
    for name in layers:
        net.features.get_submodule(name).register_forward_hook(
            lambda m, _, out: sizes.append(2 * m.weight.numel() * out[0, 0].numel())
        )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 64))
    counts = counter.get_flop_counts()
    found = [sum(counts[f"IBNDenseNet.features.{name}"].values()) for name in layers]
    # stem: 8 x 3 x 7 x 7 weights at 16 x 32 places; 1x1: 16 x 12 at 8 x 16; 3x3: 4 x 16 x 9
    assert found == sizes == [2 * 1176 * 512, 2 * 192 * 128, 2 * 576 * 128]


# ---- wrong input -----------------------------------------------------------------------------


def test_wrong_options_are_refused():
    for kwargs, message in [
        (dict(depth=120), r"unknown depth 120, expected one of \(121, 161, 169, 201\)"),
        (dict(depth="121"), "unknown depth '121'"),
        (dict(depth=None), "unknown depth None"),
        (dict(variant="b"), r"unknown variant 'b', expected one of \(None, 'a'\)"),
        (dict(variant="A"), "unknown variant 'A'"),
        (dict(variant=["a"]), r"unknown variant \['a'\]"),
        (dict(variant="a", stages=(True, True)), "expected 4 of True and False"),
        (dict(variant="a", stages=(1, 1, 1, 0)), "expected 4 of True and False"),
        (dict(variant="a", stages=3), "stages=3, expected 4 of True and False"),
        (dict(stages=(True,) * 4), "needs a variant"),
        (dict(variant="a", ratio=1.1), r"ratio=1.1, expected a number in \[0, 1\]"),
        (dict(variant="a", ratio=-0.1), "ratio=-0.1"),
        (dict(variant="a", ratio=float("nan")), r"ratio=nan, expected a number in \[0, 1\]"),
        (dict(variant="a", ratio=(0.5, 0.5)), "or 4 of them"),
        (dict(variant="a", ratio="half"), r"ratio='half', expected a number in \[0, 1\]"),
        (dict(ratio=0.4), "ratio=0.4 needs a variant with IBN layers"),
        (dict(strides=(2, 2, 2, 2)), "expected 4 of 1 and 2, the first of them 1"),
        (dict(strides=(1, 2, 2)), "expected 4 of 1 and 2, the first of them 1"),
        (dict(strides=(1, 2, 4, 1)), r"strides=\(1, 2, 4, 1\), expected 4 of 1 and 2"),
        (dict(strides=(1, 2, 0, 1)), "expected 4 of 1 and 2"),
        (dict(dilations=(1, 1, 2)), "expected 4 integers of at least 1"),
        (dict(dilations=(1, 1, 2, 0)), r"dilations=\(1, 1, 2, 0\), expected 4 integers"),
        (dict(dilations=(1, 1, 2, 1.5)), "expected 4 integers of at least 1"),
        (dict(out_indices=(4,)), r"out_indices=\(4,\), expected some of 0 to 3"),
        (dict(out_indices=(-1,)), r"out_indices=\(-1,\), expected some of 0 to 3"),
    ]:
        said = f"^IBNDenseNet: .*{message}"
        with case(kwargs=kwargs), pytest.raises(ValueError, match=said):
            IBNDenseNet(**{"depth": 121, **TINY, **kwargs})
