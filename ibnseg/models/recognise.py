"""Recognises the network that a state dict belongs to by its names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ibnseg.models.variants import VARIANTS, Variant


def recognise(weights: Mapping[str, Tensor]) -> str | None:
    """Names the network that weights belong to, e.g. ``resnet50_ibn_a`` or ``densenet121``.

    Args:
        weights: names to tensors, with or without a classifier; the stages of a variant are those
            that it has by default.

    Returns:
        The family, the depth by the number of layers, and the variant; this package need not have
        such a network (``resnet26``). ``None`` for the weights of anything else.
    """
    try:
        return _recognise(weights)
    except (LookupError, TypeError):  # a layer or an axis of one is missing
        return None


def _recognise(weights: Mapping[str, Tensor]) -> str | None:
    if "features.denseblock1.denselayer1.conv1.weight" in weights:
        layers = _count(weights, r"features\.denseblock\d+\.denselayer\d+\.conv1\.weight")
        # every layer has two convolutions; stem, three transitions and classifier add five
        ibn = "features.denseblock1.denselayer1.norm1.IN.weight" in weights
        return f"densenet{2 * layers + 5}" + "_ibn_a" * ibn
    if not {"conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"} <= weights.keys():
        return None
    blocks = _count(weights, r"layer\d+\.\d+\.conv1\.weight")
    depth = (3 if "layer1.0.conv3.weight" in weights else 2) * blocks + 2
    family = "resnet"
    if "layer1.0.se.fc.0.weight" in weights:
        family = "se_resnet"
    elif weights["layer1.0.conv2.weight"].shape[1] < weights["layer1.0.conv1.weight"].shape[0]:
        family = "resnext"
    variant = _variant(weights)
    return None if variant == "?" else f"{family}{depth}" + (f"_ibn_{variant}" if variant else "")


def _variant(weights: Mapping[str, Tensor]) -> str | None:
    """The variant of a residual network; ``"?"`` if the table has none like it."""
    last = _count(weights, r"layer1\.\d+\.conv1\.weight") - 1
    third = "layer1.0.bn3" if "layer1.0.bn3.weight" in weights else None
    second = _kind(weights, "layer1.0.bn2")
    row = Variant(
        stem=_kind(weights, "bn1"),
        first=_kind(weights, "layer1.0.bn1"),
        second=second,
        others=_kind(weights, third) if third else ("IN" if second == "IN" else "BN"),
        sum=next((k for k in ("IN", "IBN") if _has(weights, f"layer1.{last}.{k}.")), None),
    )
    return next((name for name, known in VARIANTS.items() if known == row), "?")


def _kind(weights: Mapping[str, Tensor], name: str) -> str:
    halves = [weights[key] for h in ("IN", "BN") if (key := f"{name}.{h}.weight") in weights]
    if not halves:
        return "BN" if f"{name}.running_mean" in weights else "IN"
    conv = weights[name.replace("bn", "conv") + ".weight"]
    return "IBN" if sum(map(len, halves)) == len(conv) else "IN|BN"


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in weights)


def _has(weights: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in weights)
