"""IBN, IN and BN side by side, and build_norm against both written out in numpy, in float64."""

from __future__ import annotations

import os
from copy import deepcopy
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from ibnseg.models import IBN
from ibnseg.models.norm import INBN, build_norm
from ibnseg.models.one_pass import InstanceNorm, separately
from tests.models.cases import case
from tests.models.reference import BATCH_NORM
from tests.support.team import in_processes

MOMENTUM = 0.1
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def instance_norm(x, weight, bias, eps):
    mean = x.mean(axis=(2, 3), keepdims=True)
    var = ((x - mean) ** 2).mean(axis=(2, 3), keepdims=True)
    return affine((x - mean) / np.sqrt(var + eps), weight, bias)


def batch_norm(x, mean, var, weight, bias, eps):
    mean, var = mean[None, :, None, None], var[None, :, None, None]
    return affine((x - mean) / np.sqrt(var + eps), weight, bias)


def affine(x, weight, bias):
    return x * weight[None, :, None, None] + bias[None, :, None, None]


def numpy_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in module.state_dict().items()}


def randomised(rng: np.random.Generator, layer: nn.Module) -> nn.Module:
    """The layer in float64 with random weights and running statistics."""
    for key, value in layer.double().state_dict().items():
        if value.is_floating_point():
            drawn = rng.normal(size=value.shape)
            drawn = np.abs(drawn) + 0.1 if key.endswith("running_var") else drawn
            value.copy_(torch.from_numpy(drawn))
    return layer


def random_layer(rng: np.random.Generator, *args, **kwargs) -> IBN:
    return randomised(rng, IBN(*args, **kwargs))


def assert_values(layer, x, for_in, for_bn, in_first, eps, training, momentum=MOMENTUM):
    """A layer's output and new statistics, given what goes through its IN and its BN.

    A layer that is IN or BN itself has the other part empty.
    """
    kinds = ((nn.InstanceNorm2d, "IN."), (nn.BatchNorm2d, "BN."))
    kind = next((name for of, name in kinds if isinstance(layer, of)), "")
    old = {kind + key: value for key, value in numpy_of(layer).items()}
    got = layer.train(training)(torch.from_numpy(x)).detach().numpy()
    new = {kind + key: value for key, value in numpy_of(layer).items()}

    outs = []
    if for_in.shape[1]:
        outs.append(instance_norm(for_in, old["IN.weight"], old["IN.bias"], eps))
    if for_bn.shape[1]:
        mean, var = old["BN.running_mean"], old["BN.running_var"]
        if training:
            mean, var = for_bn.mean(axis=(0, 2, 3)), for_bn.var(axis=(0, 2, 3))
        outs.append(batch_norm(for_bn, mean, var, old["BN.weight"], old["BN.bias"], eps))
    want = np.concatenate(outs if in_first else outs[::-1], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    if not training:
        assert_fast_form(layer, x, want)

    if training and for_bn.shape[1]:
        count = x[:, 0].size
        for key, batch_value in (("mean", mean), ("var", var * count / (count - 1))):
            want = (1 - momentum) * old[f"BN.running_{key}"] + momentum * batch_value
            np.testing.assert_allclose(new[f"BN.running_{key}"], want, rtol=1e-9, atol=1e-9)
        assert new["BN.num_batches_tracked"] == 1
    else:
        assert all(np.array_equal(old[key], new[key]) for key in old)


def assert_fast_form(layer, x, want):
    """Without gradients the layer takes other ways, which depend on the memory's layout."""
    with torch.inference_mode():
        for layout in LAYOUTS:
            got = layer(torch.from_numpy(x).contiguous(memory_format=layout))
            np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 13),
    ratio=st.floats(0, 1) | st.sampled_from([0, 0.25, 0.5, 1]),
    eps=st.sampled_from([1e-5, 1e-2]),
    in_first=st.booleans(),
    training=st.booleans(),
    size=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 1000),
)
def test_ibn_values_and_running_statistics_are_those_of_numpy(
    channels, ratio, eps, in_first, training, size, seed
):
    n, height, width = size
    assume(height * width > 1)
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, channels, ratio, eps, in_first)
    x = rng.normal(1, 2, (n, channels, height, width))
    first = int(channels * ratio) if in_first else int(channels * (1 - ratio))
    head, tail = x[:, :first], x[:, first:]
    for_in, for_bn = (head, tail) if in_first else (tail, head)
    assert_values(layer, x, for_in, for_bn, in_first, eps, training)


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 5),
    eps=st.sampled_from([1e-5, 1e-2]),
    training=st.booleans(),
    size=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4)),
    seed=st.integers(0, 1000),
)
def test_instance_and_batch_norm_side_by_side_by_value(channels, eps, training, size, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, (size[0], channels, *size[1:]))
    assert_values(randomised(rng, INBN(channels, eps)), x, x, x, True, eps, training)


def test_side_by_side_keeps_contrast_in_one_half_alone():
    """Contrast and brightness of an image are out of the first half, and stay in the second."""
    layer = INBN(3, eps=1e-12).double()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    changed = x * torch.tensor([1, 3]).view(2, 1, 1, 1) + torch.tensor([0, 5]).view(2, 1, 1, 1)
    before, after = layer(x), layer(changed)
    assert before.shape == (2, 6, 4, 5)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (after[1, 3:].mean(dim=(1, 2)) - after[0, 3:].mean(dim=(1, 2)) > 1).all()


# ---- build_norm --------------------------------------------------------------------------------

KINDS = ("BN", "IN", "IBN", "IN|BN")


def norms_of(layer: nn.Module, kind: str, batch: type) -> list[nn.Module]:
    """What a layer is made of: IN, a BN of the type given, or these two."""
    norms = [m for m in layer.modules() if isinstance(m, (BATCH_NORM, nn.InstanceNorm2d))]
    kinds = {"IN": [nn.InstanceNorm2d], "BN": [batch]}.get(kind, [nn.InstanceNorm2d, batch])
    assert len(norms) == len(kinds)
    assert all(map(isinstance, norms, kinds))
    return norms


@pytest.mark.parametrize("kind", KINDS)
def test_build_norm_computes_each_kind_by_value(kind):
    for training in [True, False]:
        for in_first in [True, False]:
            with case(training=training, in_first=in_first):
                rng = np.random.default_rng(0)
                cfg = dict(type="BN", eps=0.25, momentum=0.3)
                layer = randomised(rng, build_norm(kind, 8, cfg, ratio=0.25, in_first=in_first))
                x = rng.normal(1, 2, (2, 8, 3, 4))
                none = x[:, :0]
                for_in, for_bn = {
                    "BN": (none, x),
                    "IN": (x, none),
                    "IBN": (x[:, :2], x[:, 2:]) if in_first else (x[:, 6:], x[:, :6]),
                    "IN|BN": (x, x),
                }[kind]
                in_first = in_first or kind != "IBN"
                assert_values(layer, x, for_in, for_bn, in_first, 0.25, training, momentum=0.3)


def test_build_norm_keeps_to_its_config():
    for kind in KINDS:
        with case(kind=kind):
            cfg = dict(type="SyncBN", eps=1e-3, momentum=0.3, requires_grad=False)
            layer = build_norm(kind, 8, cfg)
            assert cfg == dict(type="SyncBN", eps=1e-3, momentum=0.3, requires_grad=False)
            for norm in norms_of(layer, kind, nn.SyncBatchNorm):
                assert norm.eps == 1e-3
                assert norm.affine
                of_batches = isinstance(norm, BATCH_NORM)  # IN keeps no statistics
                assert norm.momentum == (0.3 if of_batches else 0.1)
            assert not any(p.requires_grad for p in layer.parameters())


def test_build_norm_of_a_bare_config_has_pytorchs_defaults():
    for kind in KINDS:
        with case(kind=kind):
            layer = build_norm(kind, 8, dict(type="BN"))
            norms = norms_of(layer, kind, nn.BatchNorm2d)
            assert {norm.eps for norm in norms} == {1e-5}
            assert all(p.requires_grad for p in layer.parameters())


def test_half_without_channels_is_not_trained():
    for ratio in [0, 1]:
        with case(ratio=ratio):
            layer = build_norm("IBN", 4, dict(type="BN"), ratio)
            kept, empty = (layer.BN, layer.IN) if ratio == 0 else (layer.IN, layer.BN)
            assert (kept.num_features, empty.num_features) == (4, 0)
            assert all(p.requires_grad for p in kept.parameters())
            assert not any(p.requires_grad for p in empty.parameters())


# ---- the layer ---------------------------------------------------------------------------------


def test_channels_are_divided_as_published():
    for channels, ratio, in_first, instance, batch in [
        (64, 0.5, True, 32, 32),
        (64, 0.5, False, 32, 32),
        (7, 0.5, True, 3, 4),  # int(3.5) of IN
        (7, 0.5, False, 4, 3),  # int(3.5) of BN
        (1, 0.5, True, 0, 1),
        (1, 0.5, False, 1, 0),
        (10, 0.7, True, 7, 3),
        (10, 0.7, False, 7, 3),
        (100, 0.29, True, 28, 72),  # 100 * 0.29 is just below 29
        (5, 0, True, 0, 5),
        (5, 0, False, 0, 5),
        (5, 1, True, 5, 0),
        (5, 1, False, 5, 0),
    ]:
        with case(channels=channels, ratio=ratio, in_first=in_first):
            layer = IBN(channels, ratio, in_first=in_first)
            assert [name for name, _ in layer.named_children()] == ["IN", "BN"]
            assert isinstance(layer.IN, nn.InstanceNorm2d)
            assert type(layer.BN) is nn.BatchNorm2d
            assert (layer.IN.num_features, layer.BN.num_features) == (instance, batch)
            assert layer.IN.weight.shape == layer.IN.bias.shape == (instance,)
            assert layer.BN.running_mean.shape == layer.BN.weight.shape == (batch,)


def test_state_dict_has_the_published_keys():
    norm = ["weight", "bias"]
    stats = ["running_mean", "running_var", "num_batches_tracked"]
    want = [f"IN.{k}" for k in norm] + [f"BN.{k}" for k in norm + stats]
    assert list(IBN(4).state_dict()) == want


def test_a_ratio_outside_of_0_to_1_is_refused():
    for ratio in [-0.1, -1e-9, 1 + 1e-9, 2, float("nan"), float("inf")]:
        with case(ratio=ratio), pytest.raises(ValueError, match="ratio"):
            IBN(4, ratio)


@settings(max_examples=25, deadline=None)
@given(
    gain=st.lists(st.floats(0.1, 10), min_size=12, max_size=12),
    shift=st.lists(st.floats(-5, 5), min_size=12, max_size=12),
    in_first=st.booleans(),
    training=st.booleans(),
)
def test_instance_half_ignores_contrast_and_brightness(gain, shift, in_first, training):
    rng = np.random.default_rng(0)
    layer = random_layer(rng, 6, eps=1e-12, in_first=in_first).train(training)
    x = torch.from_numpy(rng.normal(size=(2, 6, 4, 5)))
    changed = x * torch.tensor(gain).double().view(2, 6, 1, 1)
    changed += torch.tensor(shift).double().view(2, 6, 1, 1)
    half = slice(0, 3) if in_first else slice(3, 6)
    torch.testing.assert_close(layer(x)[:, half], layer(changed)[:, half], rtol=1e-7, atol=1e-7)


def test_batch_half_keeps_brightness_between_images():
    for training in [True, False]:
        with case(training=training):
            layer = IBN(6, eps=1e-12).double().train(training)
            x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 4, 5)))
            x[1] += 10
            dark, bright = layer(x).mean(dim=(2, 3))
            torch.testing.assert_close(dark[:3], bright[:3])
            assert ((bright - dark)[3:] > 1).all()


@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_gradients_are_those_of_finite_differences(ratio):
    rng = np.random.default_rng(0)
    layer = random_layer(rng, 4, ratio)
    x = torch.from_numpy(rng.normal(size=(2, 4, 2, 3))).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    layer(x).square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters() if p.numel())


def test_bfloat16_input_stays_bfloat16():
    layer = IBN(8)
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    got = layer(x.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), layer(x), rtol=0.02, atol=0.02)


def test_another_number_of_channels_is_refused():
    for channels in [7, 9]:
        with case(channels=channels), pytest.raises(RuntimeError):
            IBN(8)(torch.zeros(2, channels, 3, 3))


def test_one_pixel_is_refused_for_it_has_no_variance():
    for training in [True, False]:
        with case(training=training), pytest.raises(ValueError, match="spatial"):
            IBN(8).train(training)(torch.zeros(2, 8, 1, 1))


# ---- training ----------------------------------------------------------------------------------


def plain_form(layer: IBN, x: torch.Tensor) -> torch.Tensor:
    """The layer as its authors wrote it: split, contiguous halves, IN and BN, concatenate."""
    halves = (layer.IN, layer.BN) if layer.in_first else (layer.BN, layer.IN)
    parts = [part.contiguous() for part in x.split(layer.split, dim=1)]
    outs = [
        nn.InstanceNorm2d.forward(half, part) if half is layer.IN else half(part)
        for half, part in zip(halves, parts, strict=True)
        if part.shape[1]
    ]
    return torch.cat(outs, dim=1)


def step(form, layer: IBN, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, gradients and new statistics of one step."""
    layer, x = deepcopy(layer), x.clone().requires_grad_()
    with mock.patch.object(InstanceNorm, "forward", nn.InstanceNorm2d.forward):
        out = form(layer, x)
    out.backward(grad)
    grads = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return dict(out=out.detach(), x=x.grad, **grads, **dict(layer.named_buffers()))


@settings(max_examples=80, deadline=None)
@given(
    channels=st.integers(1, 9),
    ratio=st.sampled_from([0, 0.3, 0.5, 1]),
    in_first=st.booleans(),
    frozen=st.booleans(),
    momentum=st.sampled_from([0.1, 1.0, None]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 5)),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2),
    trained=st.sampled_from(["all", "input", "weights"]),
    seed=st.integers(0, 1000),
)
def test_a_training_step_is_that_of_the_authors_form(
    channels, ratio, in_first, frozen, momentum, size, layouts, trained, seed
):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, channels, ratio, 1e-3, in_first)
    layer.BN.momentum = momentum
    layer.BN.train(not frozen)
    layer.requires_grad_(trained != "input")
    shape = (size[0], channels, *size[1:])
    x, grad = (
        torch.from_numpy(rng.normal(1, 2, shape)).contiguous(memory_format=layout)
        for layout in layouts
    )
    want, got = (step(form, layer, x, grad) for form in (plain_form, IBN.forward))
    assert want.keys() == got.keys()
    for key in want:
        torch.testing.assert_close(got[key], want[key], rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_is_as_exact_as_that_of_the_authors_form(dtype):
    """Beside float64, for features far from 0; half of the errors are those of either form."""
    for layout in LAYOUTS:
        rng = np.random.default_rng(0)
        layer = random_layer(rng, 16).float()
        x, grad = (
            torch.from_numpy(rng.normal(mean, 1, (4, 16, 16, 16))).to(dtype) for mean in (10, 0)
        )
        x = x.contiguous(memory_format=layout)
        want = step(plain_form, deepcopy(layer).double(), x.double(), grad.double())
        forms = [step(form, layer, x, grad) for form in (plain_form, IBN.forward)]
        for key in ("out", "x", "IN.weight", "BN.weight", "BN.running_var"):
            plain, fast = ((form[key] - want[key]).square().mean().sqrt() for form in forms)
            size = want[key].square().mean().sqrt()
            with case(layout=layout, key=key):
                assert fast < 2 * plain + 4 * torch.finfo(torch.float32).eps * 10 * size


@pytest.mark.parametrize("in_first", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_can_be_differentiated(in_first, frozen):
    for layout in LAYOUTS:
        layer = random_layer(np.random.default_rng(0), 2, in_first=in_first)
        layer.BN.train(not frozen)
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 1, 3)))
        x = x.contiguous(memory_format=layout).requires_grad_()
        assert torch.autograd.gradcheck(layer, (x,))
        assert torch.autograd.gradgradcheck(layer, (x,))


def test_activations_can_be_computed_again_in_the_backward_pass():
    layer = random_layer(np.random.default_rng(0), 6)
    x, grad = (torch.from_numpy(np.random.default_rng(i).normal(size=(2, 6, 4, 4))) for i in (0, 1))
    again = step(lambda layer, x: checkpoint(layer, x, use_reentrant=False), layer, x, grad)
    once = step(IBN.forward, layer, x, grad)
    for key in ("out", "x", "IN.weight", "BN.weight"):
        assert torch.equal(again[key], once[key])


def test_the_layer_can_be_transformed_and_exported():
    layer = random_layer(np.random.default_rng(0), 6).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 4, 4)))
    want = torch.autograd.functional.jacobian(lambda x: layer(x).square().sum(), x)
    torch.testing.assert_close(torch.func.grad(lambda x: layer(x).square().sum())(x), want)
    derivative = torch.func.jvp(lambda x: layer(x).square().sum(), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(derivative, want.sum())
    torch.testing.assert_close(torch.func.vmap(layer)(x[None])[0], layer(x))
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))


def test_tests_compute_what_torchs_layers_give_to_the_bit():
    layer = random_layer(np.random.default_rng(0), 6).float().eval()
    for layout in LAYOUTS:
        x = torch.randn(2, 6, 9, 9).contiguous(memory_format=layout)
        with separately(), torch.inference_mode():
            got = layer(x)
            of_instance = nn.InstanceNorm2d.forward(layer.IN, x[:, :3])
            assert torch.equal(layer.IN(x[:, :3]), of_instance)
            assert torch.equal(got, torch.cat([of_instance, layer.BN(x[:, 3:])], dim=1))


def test_hooks_of_the_halves_see_what_they_give():
    layer = random_layer(np.random.default_rng(0), 6)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 4, 4)))
    without, seen = layer(x), {}
    for name in ("IN", "BN"):
        keep = partial(seen.__setitem__, name)
        layer.get_submodule(name).register_forward_hook(lambda m, a, out, keep=keep: keep(out))
    out = layer(x)
    torch.testing.assert_close(out, without)
    torch.testing.assert_close(torch.cat([seen["IN"], seen["BN"]], dim=1), out)


def test_bn_synchronised_over_two_processes_is_that_of_the_whole_batch(tmp_path):
    """Of three images, the first process has two, of another size than the second's."""
    layer = random_layer(np.random.default_rng(0), 6)
    layer.BN = nn.SyncBatchNorm.convert_sync_batchnorm(layer.BN)
    rng = np.random.default_rng(0)
    shapes = ((2, 6, 4, 4), (1, 6, 3, 5))
    xs, grads = ([torch.from_numpy(rng.normal(size=shape)) for shape in shapes] for _ in range(2))

    def work() -> None:
        rank = int(os.environ["RANK"])
        torch.distributed.init_process_group("gloo")
        found = step(IBN.forward, layer, xs[rank], grads[rank])
        torch.save(found, tmp_path / f"{rank}.pt")
        torch.distributed.destroy_process_group()

    assert in_processes(2, work, tmp_path / "printed") == ["", ""]
    got = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    bn, together = deepcopy(layer.BN), [x[:, 3:].movedim(1, 0).reshape(3, -1) for x in xs]
    inputs = torch.cat(together, dim=1).T.clone().requires_grad_()
    out = nn.functional.batch_norm(
        inputs, bn.running_mean, bn.running_var, bn.weight, bn.bias, training=True
    )
    out.backward(torch.cat([g[:, 3:].movedim(1, 0).reshape(3, -1) for g in grads], dim=1).T)
    for key, want in (("out", out.detach()), ("x", inputs.grad)):
        flat = [each[key][:, 3:].movedim(1, 0).reshape(3, -1) for each in got]
        torch.testing.assert_close(torch.cat(flat, dim=1).T, want)
    for key in ("weight", "bias"):
        torch.testing.assert_close(sum(g[f"BN.{key}"] for g in got), getattr(bn, key).grad)
    for each in got:
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(each[f"BN.{key}"], getattr(bn, key))
    alone = step(IBN.forward, layer, xs[1], grads[1])  # IN knows nothing of the other process
    torch.testing.assert_close(got[1]["x"][:, :3], alone["x"][:, :3])


def test_synchronised_bn_alone_in_its_process_is_bn():
    plain, layer = (build_norm("IBN", 6, dict(type=kind)) for kind in ("BN", "SyncBN"))
    layer.load_state_dict(plain.state_dict())
    x, grad = torch.randn(2, 2, 6, 4, 4)
    want, got = (step(IBN.forward, each, x, grad) for each in (plain, layer))
    assert all(torch.equal(got[key], want[key]) for key in want)


MMCV_ONLY = """
import json, sys
import torch
from mmcv.cnn import ConvModule, build_norm_layer
loaded_before = any(name.split(".")[0] in ("ibnseg", "mmseg") for name in sys.modules)
name, layer = build_norm_layer(
    dict(type="ibnseg.IBN", ratio=0.25, eps=0.01, in_first=False, requires_grad=False), 8, postfix=3
)
module = ConvModule(3, 8, 1, norm_cfg=dict(type="ibnseg.IBN"))
x = torch.randn(2, 3, 4, 4)
same = torch.equal(module(x), module.bn(module.conv(x)).relu())
print(json.dumps(dict(
    loaded_before=loaded_before,
    name=name,
    type=f"{type(layer).__module__}.{type(layer).__name__}",
    sizes=[layer.BN.num_features, layer.IN.num_features],
    eps=[layer.BN.eps, layer.IN.eps],
    requires_grad=[p.requires_grad for p in layer.parameters()],
    plain_name=build_norm_layer(dict(type="ibnseg.IBN"), 8)[0],
    conv_module=module.norm_name,
    conv_bias=module.conv.bias is not None,
    same=same,
)))
"""
