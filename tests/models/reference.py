"""Residual networks as functions of a state dict alone, and random values for them."""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORM, nn.InstanceNorm2d)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).standard_normal(shape)).to(dtype)


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


def functional_norm(weights: dict, name: str, x: Tensor, training: bool, eps: float = 1e-5):
    """BN, IN, IBN (channels divided) or both side by side, as the keys below ``name`` say."""

    def instance(key: str, part: Tensor) -> Tensor:
        scale = (weights[f"{key}.weight"], weights[f"{key}.bias"])
        return F.instance_norm(part, None, None, *scale, eps=eps)

    def batch(key: str, part: Tensor) -> Tensor:
        stats = (weights[f"{key}.running_mean"].clone(), weights[f"{key}.running_var"].clone())
        scale = (weights[f"{key}.weight"], weights[f"{key}.bias"])
        return F.batch_norm(part, *stats, *scale, training=training, eps=eps)

    if f"{name}.IN.weight" not in weights:
        return (batch if f"{name}.running_mean" in weights else instance)(name, x)
    split = [len(weights[f"{name}.IN.weight"]), len(weights[f"{name}.BN.weight"])]
    parts = x.split(split, dim=1) if sum(split) == x.shape[1] else (x, x)
    normed = zip((instance, batch), ("IN", "BN"), parts, split, strict=True)
    return torch.cat([norm(f"{name}.{key}", part) for norm, key, part, size in normed if size], 1)


def functional_resnet(
    weights: dict,
    x: Tensor,
    strides: tuple[int, ...] = (1, 2, 2, 2),
    dilations: tuple[int, ...] = (1, 1, 1, 1),
    training: bool = False,
) -> list[Tensor]:
    """The stages of a ResNet, ResNeXt or SE-ResNet with the normalisations that its keys name."""

    def conv(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def norm(name: str, x: Tensor) -> Tensor:
        return functional_norm(weights, name, x, training)

    def block(name: str, x: Tensor, stride: int, dilation: int) -> Tensor:
        if f"{name}.conv3.weight" in weights:
            out = norm(f"{name}.bn1", conv(f"{name}.conv1", x)).relu()
            out = norm(f"{name}.bn2", conv(f"{name}.conv2", out, stride, dilation)).relu()
            out = norm(f"{name}.bn3", conv(f"{name}.conv3", out))
        else:
            out = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride, dilation)).relu()
            out = norm(f"{name}.bn2", conv(f"{name}.conv2", out))
        if f"{name}.se.fc.0.weight" in weights:
            squeeze, excite = (weights[f"{name}.se.fc.{i}.weight"] for i in (0, 2))
            gate = (out.mean(dim=(2, 3)) @ squeeze.T).relu() @ excite.T
            out = out * gate.sigmoid()[:, :, None, None]
        if f"{name}.downsample.0.weight" in weights:
            x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
        x = out + x
        for kind in ("IN", "IBN"):
            if any(key.startswith(f"{name}.{kind}.") for key in weights):
                x = norm(f"{name}.{kind}", x)
        return x.relu()

    x = F.max_pool2d(norm("bn1", conv("conv1", x, 2)).relu(), 3, 2, 1)
    outs = []
    for stage, (stride, dilation) in enumerate(zip(strides, dilations, strict=True), 1):
        for i in count():
            name = f"layer{stage}.{i}"
            if f"{name}.conv1.weight" not in weights:
                break
            x = block(name, x, 1 if i else stride, dilation)
        outs.append(x)
    return outs
