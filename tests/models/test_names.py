"""Backbones by name."""

import pytest
import torch

from ibnseg.models import IBNDenseNet, IBNResNet, IBNResNeXt, IBNSEResNet
from ibnseg.models.names import NAMES, build_backbone
from ibnseg.support.errors import UserError
from tests.models.cases import case


def test_every_family_depth_and_variant_has_a_name():
    assert len(NAMES) == len(set(NAMES)) == 5 * 8 + 3 * 2 + 3 * 2 + 4 * 2
    assert {"resnet50", "resnet18_ibn_a&d", "se_resnet101_ibn_a", "densenet201"} <= {*NAMES}


def test_a_name_builds_its_backbone_and_variant():
    for name, network, variant in [
        ("resnet34_ibn_ax2", IBNResNet, "ax2"),
        ("resnext50", IBNResNeXt, None),
        ("se_resnet50_ibn_a", IBNSEResNet, "a"),
        ("densenet169_ibn_a", IBNDenseNet, "a"),
    ]:
        with case(name=name, network=network, variant=variant):
            with torch.device("meta"):
                backbone = build_backbone(name, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
                stage = backbone(torch.empty(1, 3, 64, 64))[-1]
            assert type(backbone) is network
            assert backbone.variant == variant
            assert stage.shape[1:] == (backbone.out_channels[-1], 8, 8)


def test_an_unknown_network_is_refused_with_the_nearest():
    for name in ["resnet50_ibn_e", "resnet", "resnext50_ibn_b", "ResNet50"]:
        with case(name=name), pytest.raises(UserError, match=f"'{name}'; did you mean "):
            build_backbone(name)
