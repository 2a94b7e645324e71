"""Networks told by the names and shapes of their weights."""

import pytest
import torch
import torchvision

from ibnseg.models import IBNResNet
from ibnseg.models.classifier import NAMES, Classifier, build_backbone
from ibnseg.models.recognise import recognise


@pytest.mark.parametrize("name", NAMES)
def test_every_network_by_its_name(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
        assert recognise(backbone.state_dict()) == name
        assert recognise({**backbone.state_dict(), "fc.weight": torch.empty(10, 2)}) == name


@pytest.mark.parametrize(
    ("theirs", "name"),
    [
        ("resnet34", "resnet34"),
        ("resnext50_32x4d", "resnext50"),
        ("densenet161", "densenet161"),
        ("vgg11", None),
        ("mobilenet_v2", None),
    ],
)
def test_torchvisions(theirs, name):
    with torch.device("meta"):
        assert recognise(getattr(torchvision.models, theirs)(weights=None).state_dict()) == name


def test_others():
    assert recognise({}) is None
    assert recognise({"conv1.weight": torch.empty(2, 2, 1, 1)}) is None
    with torch.device("meta"):
        whole = Classifier(build_backbone("resnet18_ibn_b")).state_dict()
        rare = IBNResNet(18, "a", ratio=(0, 0.5, 0.5, 0.5)).state_dict()
    assert recognise(whole) is None  # backbone.conv1 ...
    assert recognise(rare) == "resnet18_ibn_a"
