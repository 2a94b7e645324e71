"""IBN-ResNet in all its variants against mmseg's ResNet, torchvision's and a functional forward."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from ibnseg.models import IBN, IBNResNet
from ibnseg.models.norm import INBN
from ibnseg.models.one_pass import InstanceNorm
from tests.models.cases import case
from tests.models.reference import (
    BATCH_NORM,
    NORMS,
    functional_norm,
    functional_resnet,
    images,
    randomise,
)

TINY = dict(base_channels=8, stem_channels=8)
STRIDE_32 = dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
DILATED = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
EARLY = dict(strides=(2, 1, 1, 2), dilations=(3, 2, 1, 1))  # dilated where 'b' normalises sums
VARIANTS = (None, "a", "b", "c", "d", "a&d", "ax2", "in")
FEW = (None, "a&d", "c", "in")  # with every kind of layer in every place
KINDS = {IBN: "IBN", INBN: "IN|BN", InstanceNorm: "IN", nn.BatchNorm2d: "BN"}


@cache
def initialised(depth: int, variant: str | None, **kwargs) -> IBNResNet:
    torch.manual_seed(0)
    net = IBNResNet(depth, variant, **kwargs)
    net.init_weights()
    return net


def tiny(depth: int = 18, variant: str | None = None, **kwargs) -> IBNResNet:
    """A narrow network after ``init_weights``; the caller may change it."""
    return deepcopy(initialised(depth, variant, **TINY, **kwargs))


def blocks(net: ResNet) -> list[nn.Module]:
    return [block for name in net.res_layers for block in getattr(net, name)]


def last_norm(block: nn.Module) -> nn.Module:
    return block.bn3 if hasattr(block, "conv3") else block.bn2


def other_norms(net: nn.Module) -> dict[str, str]:
    """The kind of each normalisation that is not BN, by its name in the network."""
    kinds = {n: KINDS[type(m)] for n, m in net.named_modules() if type(m) in KINDS}
    return {
        name: kind
        for name, kind in kinds.items()
        if kind != "BN" and name.rpartition(".")[0] not in kinds  # nor one of a layer's two halves
    }


def in_blocks(depth: int, stages: tuple[int, ...], **kinds: str) -> dict[str, str]:
    """The norms of every block of some stages, by hand."""
    counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    return {
        f"layer{stage}.{i}.{name}": kind
        for stage in stages
        for i in range(counts[stage - 1])
        for name, kind in kinds.items()
    }


# ---- where the normalisations are ------------------------------------------------------------

SHORTCUTS = {
    18: dict.fromkeys(("layer2.0.downsample.1", "layer3.0.downsample.1"), "IN"),
    50: dict.fromkeys([f"layer{i}.0.downsample.1" for i in (1, 2, 3)], "IN"),
}
SUMS = {18: ("layer1.1", "layer2.1"), 50: ("layer1.2", "layer2.3")}


def by_hand(depth: int, variant: str | None) -> dict[str, str]:
    """Figure 3 of the paper: what is not BN."""
    first = (1, 2, 3)
    stem_and_sums = {
        kind: {"bn1": kind} | {f"{block}.{kind}": kind for block in SUMS[depth]}
        for kind in ("IN", "IBN")
    }
    third = dict(bn3="IN") if depth == 50 else {}
    return {
        None: {},
        "a": in_blocks(depth, first, bn1="IBN"),
        "b": stem_and_sums["IN"],
        "c": in_blocks(depth, first, bn1="IN|BN"),
        "d": stem_and_sums["IBN"],
        "a&d": stem_and_sums["IBN"] | in_blocks(depth, first, bn1="IBN"),
        "ax2": in_blocks(depth, first, bn1="IBN", bn2="IBN"),
        "in": in_blocks(depth, first, bn1="IN", bn2="IN", **third) | SHORTCUTS[depth],
    }[variant]


def test_normalisations_stand_where_the_paper_has_them():
    for variant in VARIANTS:
        for depth in [18, 50]:
            with case(variant=variant, depth=depth):
                with torch.device("meta"):
                    net = IBNResNet(depth, variant)
                assert other_norms(net) == by_hand(depth, variant)
                assert net.VARIANTS == VARIANTS
                for module in net.modules():
                    if isinstance(module, IBN):
                        assert module.in_first
                        assert module.IN.num_features == module.BN.num_features


def test_each_stage_is_switched_by_its_own_flag():
    def norms(variant: str, *stages: bool, **kwargs) -> dict[str, str]:
        with torch.device("meta"):
            return other_norms(IBNResNet(18, variant, stages, **kwargs))

    assert norms("a", False, True, False, True) == in_blocks(18, (2, 4), bn1="IBN")
    assert norms("a", False, False, False, False) == {}
    assert norms("b", False, False, False, True) == {"bn1": "IN", "layer4.1.IN": "IN"}
    assert norms("a&d", False, False, True, False) == (
        {"bn1": "IBN", "layer3.1.IBN": "IBN"} | in_blocks(18, (3,), bn1="IBN")
    )
    three = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
    assert norms("c", True, False, True, **three) == in_blocks(18, (1, 3), bn1="IN|BN")


def test_stage_four_normalises_its_shortcut():
    """What every stage of 'in' has, average pooling in front of the convolution or not."""
    net = IBNResNet(50, "in", (False, False, False, True), avg_down=True, **TINY)
    want = in_blocks(50, (4,), bn1="IN", bn2="IN", bn3="IN")
    assert other_norms(net) == want | {"layer4.0.downsample.2": "IN"}


def test_each_stage_has_its_own_ratio():
    net = IBNResNet(18, "a&d", ratio=(0.25, 0, 1, 0.5), **TINY)
    splits = {n: m.split for n, m in net.named_modules() if isinstance(m, IBN)}
    assert splits == {
        "bn1": (2, 6),  # the stem's is the first stage's
        "layer1.0.bn1": (2, 6),
        "layer1.1.bn1": (2, 6),
        "layer1.1.IBN": (2, 6),
        "layer2.0.bn1": (0, 16),
        "layer2.1.bn1": (0, 16),
        "layer2.1.IBN": (0, 16),
        "layer3.0.bn1": (32, 0),
        "layer3.1.bn1": (32, 0),
    }


def test_second_convolutions_of_c_are_twice_as_wide():
    for depth in [18, 50]:
        with case(depth=depth):
            with torch.device("meta"):
                plain, wide = IBNResNet(depth), IBNResNet(depth, "c")
            for name, module in plain.named_modules():
                if isinstance(module, nn.Conv2d):
                    twice = name.endswith("conv2") and not name.startswith("layer4")
                    other = wide.get_submodule(name)
                    assert other.in_channels == module.in_channels * (2 if twice else 1), name
                    other.in_channels = module.in_channels
                    assert repr(other) == repr(module)


# ---- a forward in functions, from the state dict alone ---------------------------------------


def assert_forward(net: IBNResNet, layout: dict, training: bool) -> None:
    net.double().train(training)
    randomise(net)
    x = images(2, 3, 64, 48, dtype=torch.float64)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    want = functional_resnet(weights, x, **layout, training=training)
    for own, reference in zip(net(x), want, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("depth", "variant", "training"),
    [
        *((18, variant, False) for variant in VARIANTS),
        *((50, variant, True) for variant in VARIANTS),
        (18, "a&d", True),
        (50, "a&d", False),
        (50, "in", False),
    ],
)
def test_the_forward_pass_equals_one_written_out_in_full(depth, variant, training):
    layout = DILATED if training else EARLY
    assert_forward(tiny(depth, variant, **layout), layout, training)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        (None, dict()),
        ("a", dict(ratio=(0.25, 0, 1, 0.5))),
        ("b", dict(stages=(False, False, True, True))),
        ("c", dict(stages=(True, False, False, True))),
        ("d", dict(stages=(False, True, True, True), ratio=0.25)),
        ("a&d", dict(stages=(True, False, True, True), ratio=(1, 0.75, 0, 0.125))),
        ("ax2", dict(ratio=0.75)),
        ("in", dict(stages=(False, True, False, True))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_forward_pass_with_stages_and_ratios_equals_one_written_out_in_full(variant, options):
    assert_forward(tiny(18, variant, **STRIDE_32, **options), STRIDE_32, training=True)


@pytest.mark.parametrize("depth", [18, 50])
def test_the_plain_resnet_equals_torchvisions(depth):
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


# ---- the extremes of the ratio, to the bit -----------------------------------------------------


def outcome(net: nn.Module) -> list[Tensor]:
    """Outputs, statistics and gradients (of the input and all that has channels) of training."""
    x = images(2, 3, 64, 64).requires_grad_()
    outs = net.train()(x)
    sum(out.sin().sum() for out in outs).backward()
    grads = [p.grad for p in net.parameters() if p.numel()]
    return [*outs, x.grad, *grads, *(b for b in net.buffers() if b.numel() and b.ndim)]


def without_empty(net: nn.Module, half: str) -> dict[str, Tensor]:
    """The state dict with the layers that have all channels in one half as plain layers."""
    weights = net.state_dict()
    other = {"IN": "BN", "BN": "IN"}[half]
    whole = [n for n, m in net.named_modules() if isinstance(m, IBN) and 0 in m.split]
    assert whole
    for name in whole:
        for key in [key for key in weights if key.startswith(f"{name}.")]:
            value = weights.pop(key)
            if key.startswith(f"{name}.{half}."):
                weights[key.replace(f"{name}.{half}.", f"{name}.")] = value
            else:
                assert key.startswith(f"{name}.{other}.")
                assert not value.numel() or key.endswith("num_batches_tracked")
    return weights


def assert_same_outcome(net: nn.Module, other: nn.Module, weights: dict[str, Tensor]) -> None:
    other.load_state_dict(weights, strict=True)
    pairs = list(zip(outcome(net), outcome(other), strict=True))
    assert all(torch.equal(own, theirs) for own, theirs in pairs)
    with torch.no_grad():
        x = images(1, 3, 65, 70)
        assert all(map(torch.equal, net.eval()(x), other.eval()(x)))


@pytest.mark.parametrize(("depth", "variant"), [(18, "a"), (18, "ax2"), (50, "ax2")])
def test_ratio_0_equals_the_plain_network(depth, variant):
    net, other = tiny(depth, variant, ratio=0), tiny(depth)
    randomise(net)
    assert_same_outcome(net, other, without_empty(net, "BN"))


@pytest.mark.parametrize(("depth", "variant"), [(18, "a"), (18, "ax2"), (50, "ax2")])
def test_ratio_1_normalises_all_channels_by_instance(depth, variant):
    net, other = tiny(depth, variant, ratio=1), tiny(depth)
    randomise(net)
    for block in blocks(other):
        if block not in other.layer4:
            for name in ("bn1", "bn2")[: 2 if variant == "ax2" else 1]:
                channels = getattr(block, name).num_features
                setattr(block, name, InstanceNorm(channels, affine=True))
    assert_same_outcome(net, other, without_empty(net, "IN"))


def test_variant_d_with_ratio_1_equals_variant_b():
    net, other = tiny(18, "d", ratio=1), tiny(18, "b")
    randomise(net)
    weights = without_empty(net, "IN")
    weights = {key.replace(".IBN.", ".IN."): value for key, value in weights.items()}
    assert_same_outcome(net, other, weights)


def test_ratios_0_and_1_can_be_mixed_by_stage():
    """Stage 1 plain, stage 3 instance normalised; stage 2 as before."""
    net, other = (
        tiny(18, "a", ratio=(0, 0.5, 1, 0.5)),
        tiny(18, "a", stages=(False, True, False, False)),
    )
    randomise(net)
    for block in other.layer3:
        block.bn1 = InstanceNorm(32, affine=True)
    weights = net.state_dict()
    for stage, half in ((1, "BN"), (3, "IN")):
        for name in [key for key in weights if key.startswith(f"layer{stage}.") and "bn1." in key]:
            value = weights.pop(name)
            if f".{half}." in name:
                weights[name.replace(f".{half}.", ".")] = value
    assert_same_outcome(net, other, weights)


def test_every_trained_parameter_has_a_gradient():
    """``DistributedDataParallel`` needs this."""
    for variant, ratio in [
        ("a", 0),
        ("d", 1),
        ("a&d", 0),
        ("ax2", 1),
        ("ax2", (0, 0.5, 1, 0.5)),
        ("a&d", None),
    ]:
        with case(variant=variant, ratio=ratio):
            net = tiny(18, variant, ratio=ratio).train()
            sum(out.sum() for out in net(images(2, 3, 64, 64))).backward()
            trained = {name for name, p in net.named_parameters() if p.requires_grad}
            assert trained == {name for name, p in net.named_parameters() if p.grad is not None}
            assert trained == {name for name, p in net.named_parameters() if p.numel()}


# ---- mmseg's ResNet --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(),
        DILATED,
        dict(DILATED, deep_stem=True, avg_down=True),
        dict(DILATED, contract_dilation=True, multi_grid=(1, 2, 4), out_indices=(1, 3)),
        dict(num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2)),
        dict(style="caffe"),
    ],
    ids=["plain", "stride8", "deep_stem", "multi_grid", "three_stages", "caffe"],
)
@pytest.mark.parametrize(("depth", "training"), [(18, True), (50, True), (50, False)])
def test_without_a_variant_the_network_equals_mmsegs_resnet(depth, kwargs, training):
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


def test_same_seed_same_weights_as_mmseg():
    for depth in [18, 50]:
        with case(depth=depth):
            torch.manual_seed(0)
            other = ResNet(depth=depth, **TINY)
            other.init_weights()
            pairs = zip(tiny(depth).state_dict().items(), other.state_dict().items(), strict=True)
            assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


# ---- initialisation ----------------------------------------------------------------------------


def test_last_norm_of_each_block_starts_at_zero_if_asked_for():
    for depth, variant, zero in [
        *((18, variant, True) for variant in VARIANTS),
        *((50, variant, True) for variant in ("a&d", "in")),
        (18, "ax2", False),
        (50, "in", False),
    ]:
        with case(depth=depth, variant=variant, zero=zero):
            net = tiny(depth, variant, zero_init_residual=zero)
            assert len(blocks(net)) == {18: 8, 50: 16}[depth]
            last = {module for block in blocks(net) for module in last_norm(block).modules()}
            for module in net.modules():
                if isinstance(module, NORMS):
                    weight = 0 if zero and module in last else 1
                    assert (module.weight == weight).all()
                    assert (module.bias == 0).all()


def test_zero_init_makes_blocks_the_identity():
    """With nothing added, the last block of a stage that normalises sums is that alone."""
    for variant in VARIANTS:
        with case(variant=variant):
            net = tiny(18, variant).eval()
            x = images(2, 8, 6, 7).relu()
            instance, batch = F.instance_norm(x).relu(), x / (1 + 1e-5) ** 0.5
            half = torch.cat([instance[:, :4], batch[:, 4:]], dim=1)
            want = {"b": instance, "d": half, "a&d": half}.get(variant, x)
            torch.testing.assert_close(net.layer1[-1](x), want)
            x = images(2, 32, 6, 7).relu()
            torch.testing.assert_close(net.layer3[-1](x), x)


# ---- freezing and modes ------------------------------------------------------------------------


def test_frozen_stages_neither_train_nor_change():
    for variant, stages in [
        (None, 0),
        (None, 4),
        *(("a&d", i) for i in (-1, 0, 1, 4)),
        *((v, 2) for v in FEW),
    ]:
        with case(variant=variant, stages=stages):
            net = tiny(18, variant, frozen_stages=stages).train()
            frozen = ["conv1.", "bn1."] if stages >= 0 else []
            frozen = (*frozen, *(f"layer{i}." for i in range(1, stages + 1)))
            for name, parameter in net.named_parameters():
                assert parameter.requires_grad is not name.startswith(frozen), name
            for name, module in net.named_modules():
                if isinstance(module, (*NORMS, IBN, INBN)):
                    assert module.training is not f"{name}.".startswith(frozen), name

            before = deepcopy(net.state_dict())
            assert net(images(2, 3, 64, 64))[-1].requires_grad is (stages < 4)
            for name, buffer in net.named_buffers():
                assert torch.equal(buffer, before[name]) is name.startswith(frozen), name


def test_a_frozen_deep_stem_does_not_train():
    for variant in ["a", "b", "d"]:
        with case(variant=variant):
            net = tiny(18, variant, deep_stem=True, frozen_stages=0).train()
            assert not any(module.training for module in net.stem.modules())
            assert not any(parameter.requires_grad for parameter in net.stem.parameters())


def test_norm_eval_keeps_all_statistics():
    for variant in FEW:
        with case(variant=variant):
            net = tiny(18, variant, norm_eval=True)
            before = deepcopy(net.state_dict())
            net.train()(images(2, 3, 64, 64))
            assert net.training
            assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_train_and_eval_return_the_network_itself():
    for variant in FEW:
        with case(variant=variant):
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
@pytest.mark.parametrize(
    ("depth", "variant"),
    [*((18, variant) for variant in FEW), (50, "b"), (50, "in")],
)
def test_gradient_checkpointing_changes_no_value(depth, variant):
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


def test_a_deep_stem_has_the_normalisation_of_the_stem_three_times():
    """All three norms of a deep stem are of the kind that the stem has."""
    for training in [False, True]:
        for variant in VARIANTS:
            with case(training=training, variant=variant):
                net = IBNResNet(
                    18, variant, deep_stem=True, norm_cfg=dict(type="BN", eps=0.5), **TINY
                )
                kind = {"b": "IN", "d": "IBN", "a&d": "IBN"}.get(variant, "BN")
                assert [KINDS[type(net.stem[i])] for i in (1, 4, 7)] == [kind] * 3

                net.double().train(training)
                randomise(net.stem)
                want = x = images(2, 3, 16, 16, dtype=torch.float64)
                weights = {key: value.clone() for key, value in net.stem.state_dict().items()}
                for i, stride in ((0, 2), (3, 1), (6, 1)):
                    want = F.conv2d(want, weights[f"{i}.weight"], stride=stride, padding=1)
                    want = functional_norm(weights, str(i + 1), want, training, eps=0.5).relu()
                torch.testing.assert_close(net.stem(x), want, rtol=1e-9, atol=1e-9)


def test_norm_cfg_reaches_every_norm():
    for variant in VARIANTS:
        with case(variant=variant):
            cfg = dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)
            net = IBNResNet(18, variant, norm_cfg=cfg, **TINY)
            batch = [m for m in net.modules() if isinstance(m, BATCH_NORM)]
            assert all(isinstance(m, nn.SyncBatchNorm) for m in batch)
            assert {m.momentum for m in batch} == {0.3}
            norms = [m for m in net.modules() if isinstance(m, NORMS)]
            assert {m.eps for m in norms} == {1e-3}
            assert not any(p.requires_grad for m in norms for p in m.parameters())
            assert all(m.weight.requires_grad for m in net.modules() if isinstance(m, nn.Conv2d))
            assert cfg == dict(type="SyncBN", momentum=0.3, eps=1e-3, requires_grad=False)


def test_bfloat16_autocast_is_close_and_keeps_float32_gradients():
    for variant in VARIANTS:
        with case(variant=variant):
            net = tiny(18, variant, **DILATED).train()
            randomise(net)
            x = images(2, 3, 64, 64)
            with torch.no_grad():
                want = deepcopy(net)(x)
            with torch.autocast("cpu", torch.bfloat16):
                outs = net(x)
                loss = sum(out.float().square().mean() for out in outs)
            loss.backward()
            for own, reference in zip(outs, want, strict=True):
                assert own.dtype == torch.bfloat16
                assert (own.float() - reference).norm() < 0.15 * reference.norm()
            for name, parameter in net.named_parameters():
                assert parameter.grad.dtype == torch.float32, name
                assert parameter.grad.isfinite().all(), name


def test_dilated_stages_have_output_stride_8():
    for size in [(64, 96), (65, 97)]:
        for depth, variant in [
            (18, "a&d"),
            (18, "in"),
            (50, None),
            (50, "b"),
            (50, "c"),
            (50, "ax2"),
        ]:
            with case(size=size, depth=depth, variant=variant):
                with torch.device("meta"):
                    net = IBNResNet(depth, variant, **DILATED, out_indices=(3, 0)).eval()
                    fine, coarse = net(torch.empty(1, 3, *size))
                height, width = size
                expansion = {18: 1, 50: 4}[depth]
                assert fine.shape == (1, 64 * expansion, -(-height // 4), -(-width // 4))
                assert coarse.shape == (1, 512 * expansion, -(-height // 8), -(-width // 8))


# ---- wrong input -------------------------------------------------------------------------------


def test_wrong_options_are_refused():
    for options, message in [
        (dict(variant="e"), f"unknown variant 'e', expected one of {VARIANTS}"),
        (dict(variant=["a"]), "unknown variant ['a']"),
        (dict(depth=20), "unknown depth 20, expected one of (18, 34, 50, 101, 152)"),
        (dict(depth="18"), "unknown depth '18'"),
        (dict(depth=None, variant="a"), "unknown depth None"),
        (dict(variant="a", stages=(True,) * 3), "expected 4 of True and False"),
        (dict(variant=None, stages=(True,) * 4), "needs a variant"),
        (dict(variant="a", ratio=1.5), "ratio=1.5, expected a number in [0, 1], or 4 of them"),
        (dict(num_stages=5), "num_stages=5, expected 1 to 4"),
        (dict(strides=(1, 2, 2)), "strides=(1, 2, 2), expected 4 integers of at least 1"),
        (dict(dilations=(1, 1, 1, 0)), "dilations=(1, 1, 1, 0), expected 4 integers of at least"),
        (dict(out_indices=(4,)), "out_indices=(4,), expected some of 0 to 3"),
        (dict(style="tf"), "style='tf', expected 'pytorch' or 'caffe'"),
        (dict(pretrained="x.pth", init_cfg=[]), "pretrained and init_cfg exclude each other"),
        (dict(variant="b", ratio=0.5), "needs a variant with IBN layers; 'b' has none"),
    ]:
        said = f"^IBNResNet: .*{re.escape(message)}"
        with case(options=options), pytest.raises(ValueError, match=said):
            IBNResNet(**{"depth": 18, **options})


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
