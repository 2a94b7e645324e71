"""The IBN layer against instance and batch normalisation written out in numpy, in float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import ibnseg
from ibnseg.models import IBN

MOMENTUM = 0.1


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


def random_layer(rng: np.random.Generator, *args, **kwargs) -> IBN:
    """A float64 layer with random weights and running statistics."""
    layer = IBN(*args, **kwargs).double()
    for key, value in layer.state_dict().items():
        if value.is_floating_point():
            drawn = rng.normal(size=value.shape)
            drawn = np.abs(drawn) + 0.1 if key.endswith("running_var") else drawn
            value.copy_(torch.from_numpy(drawn))
    return layer


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
def test_values_and_running_statistics(channels, ratio, eps, in_first, training, size, seed):
    n, height, width = size
    assume(height * width > 1)
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, channels, ratio, eps, in_first).train(training)
    x = rng.normal(1, 2, (n, channels, height, width))
    old = numpy_of(layer)

    got = layer(torch.from_numpy(x)).detach().numpy()

    first = int(channels * ratio) if in_first else int(channels * (1 - ratio))
    head, tail = x[:, :first], x[:, first:]
    for_in, for_bn = (head, tail) if in_first else (tail, head)
    mean, var = old["BN.running_mean"], old["BN.running_var"]
    if training:
        mean, var = for_bn.mean(axis=(0, 2, 3)), for_bn.var(axis=(0, 2, 3))
    instance = instance_norm(for_in, old["IN.weight"], old["IN.bias"], eps)
    batch = batch_norm(for_bn, mean, var, old["BN.weight"], old["BN.bias"], eps)
    want = np.concatenate((instance, batch) if in_first else (batch, instance), axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)

    new = numpy_of(layer)
    if training and for_bn.shape[1]:
        count = n * height * width
        for key, batch_value in (("mean", mean), ("var", var * count / (count - 1))):
            want = (1 - MOMENTUM) * old[f"BN.running_{key}"] + MOMENTUM * batch_value
            np.testing.assert_allclose(new[f"BN.running_{key}"], want, rtol=1e-9, atol=1e-9)
        assert new["BN.num_batches_tracked"] == 1
    else:
        assert all(np.array_equal(old[key], new[key]) for key in old)


@pytest.mark.parametrize(
    ("channels", "ratio", "in_first", "instance", "batch"),
    [
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
    ],
)
def test_split(channels, ratio, in_first, instance, batch):
    layer = IBN(channels, ratio, in_first=in_first)
    assert [name for name, _ in layer.named_children()] == ["IN", "BN"]
    assert type(layer.IN) is nn.InstanceNorm2d
    assert type(layer.BN) is nn.BatchNorm2d
    assert (layer.IN.num_features, layer.BN.num_features) == (instance, batch)
    assert layer.IN.weight.shape == layer.IN.bias.shape == (instance,)
    assert layer.BN.running_mean.shape == layer.BN.weight.shape == (batch,)


def test_state_dict_keys():
    norm = ["weight", "bias"]
    stats = ["running_mean", "running_var", "num_batches_tracked"]
    want = [f"IN.{k}" for k in norm] + [f"BN.{k}" for k in norm + stats]
    assert list(IBN(4).state_dict()) == want


@pytest.mark.parametrize("ratio", [-0.1, -1e-9, 1 + 1e-9, 2, float("nan"), float("inf")])
def test_ratio_outside_of_0_to_1(ratio):
    with pytest.raises(ValueError, match="ratio"):
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


@pytest.mark.parametrize("training", [True, False])
def test_batch_half_keeps_brightness_between_images(training):
    layer = IBN(6, eps=1e-12).double().train(training)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 4, 5)))
    x[1] += 10
    dark, bright = layer(x).mean(dim=(2, 3))
    torch.testing.assert_close(dark[:3], bright[:3])
    assert ((bright - dark)[3:] > 1).all()


@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_gradients(ratio):
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


@pytest.mark.parametrize("channels", [7, 9])
def test_wrong_number_of_channels(channels):
    with pytest.raises(RuntimeError):
        IBN(8)(torch.zeros(2, channels, 3, 3))


@pytest.mark.parametrize("training", [True, False])
def test_one_pixel_has_no_variance(training):
    with pytest.raises(ValueError, match="spatial"):
        IBN(8).train(training)(torch.zeros(2, 8, 1, 1))


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


def test_built_by_mmcv_alone(tmp_path):
    package = Path(ibnseg.__file__).parents[1]
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MMCV_ONLY],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict(
        loaded_before=False,
        name="bn3",
        type="ibnseg.models.norm.IBN",
        sizes=[6, 2],
        eps=[0.01, 0.01],
        requires_grad=[False] * 4,
        plain_name="bn",
        conv_module="bn",
        conv_bias=False,
        same=True,
    )
