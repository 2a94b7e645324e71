"""The names of the backbones, e.g. ``resnet50_ibn_a``, and what builds one by its name."""

from __future__ import annotations

import re

from torch import nn

from ibnseg.models.densenet import IBNDenseNet
from ibnseg.models.resnet import IBNResNet, IBNResNeXt, IBNSEResNet
from ibnseg.models.vit import ViT
from ibnseg.support.errors import unknown_name

FAMILIES = {
    "resnet": IBNResNet,
    "resnext": IBNResNeXt,
    "se_resnet": IBNSEResNet,
    "densenet": IBNDenseNet,
}
"""The class of each family of backbones."""

NAMES = tuple(
    f"{family}{depth}" + (f"_ibn_{variant}" if variant else "")
    for family, network in FAMILIES.items()
    for depth in network.DEPTHS
    for variant in network.VARIANTS
)
"""The names of all convolutional backbones."""

VITS = {
    f"vit_{size}_{version}": depth
    for version in ("patch14_dinov2", "patch14_reg4_dinov2", "patch16_dinov3")
    for size, depth in (("small", 12), ("base", 12), ("large", 24), ("giant", 40))
    if (size, version) != ("giant", "patch16_dinov3")
}
"""timm's names of the DINOv2 and DINOv3 networks that can be had by name, and their numbers of
blocks."""

LAYOUTS = {
    8: dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    16: dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    32: dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)),
}
"""The strides and dilations of the four stages, by the stride of the last feature."""


def build_backbone(name: str, **kwargs) -> nn.Module:
    """Builds a backbone by its name, with random weights.

    Args:
        name: one of :data:`NAMES`.
        kwargs: further arguments of its class.

    Raises:
        UserError: for an unknown name.
    """
    if name not in NAMES:
        raise unknown_name("network", name, NAMES)
    family, depth, variant = re.fullmatch(r"(\D+)(\d+)(?:_ibn_(.+))?", name).groups()
    return FAMILIES[family](int(depth), variant, **kwargs)


def build_vit(name: str) -> ViT:
    """Builds a ViT by its name with patches of 16 pixels, positions for images of 512x512, and the
    maps behind each quarter of its blocks.

    Args:
        name: one of :data:`VITS`.

    Raises:
        UserError: if timm is missing.
    """
    quarter = VITS[name] // 4
    return ViT(name, out_indices=[quarter * i - 1 for i in range(1, 5)], trained="all")
