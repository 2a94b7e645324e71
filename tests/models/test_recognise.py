"""Networks are recognised by the names and shapes of their weights."""

from functools import cache

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from ibnseg.models import IBNResNet
from ibnseg.models.classifier import Classifier
from ibnseg.models.names import FAMILIES, NAMES, build_backbone
from ibnseg.models.recognise import recognise
from tests.models.cases import case


@pytest.mark.parametrize("family", FAMILIES)
def test_every_network_is_recognised_by_its_weights(family):
    names = [name for name in NAMES if name.startswith(family)]
    assert names
    for name in names:
        with case(name=name), torch.device("meta"):
            backbone = build_backbone(name)
            assert recognise(backbone.state_dict()) == name
            assert recognise({**backbone.state_dict(), "fc.weight": torch.empty(10, 2)}) == name


def test_torchvisions_networks_are_recognised_and_others_are_not():
    for theirs, name in [
        ("resnet34", "resnet34"),
        ("resnext50_32x4d", "resnext50"),
        ("densenet161", "densenet161"),
        ("vgg11", None),
        ("mobilenet_v2", None),
    ]:
        with case(theirs=theirs, name=name), torch.device("meta"):
            assert recognise(getattr(torchvision.models, theirs)(weights=None).state_dict()) == name


def test_only_bare_backbones_are_recognised_whatever_their_ratio():
    assert recognise({}) is None
    assert recognise({"conv1.weight": torch.empty(2, 2, 1, 1)}) is None
    with torch.device("meta"):
        whole = Classifier(build_backbone("resnet18_ibn_b")).state_dict()
        rare = IBNResNet(18, "a", ratio=(0, 0.5, 0.5, 0.5)).state_dict()
    assert recognise(whole) is None  # backbone.conv1 ...
    assert recognise(rare) == "resnet18_ibn_a"


def test_a_resnet_of_a_depth_that_cannot_be_built_is_recognised():
    """The depth is useful in an error message, although the network cannot be built."""
    with torch.device("meta"):
        other = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [2, 2, 2, 2])
    assert recognise(other.state_dict()) == "resnet26"


def test_weights_with_the_norms_of_no_variant_are_not_recognised():
    with torch.device("meta"):
        a, b = IBNResNet(18, "a").state_dict(), IBNResNet(18, "b").state_dict()
    sums = {key: value for key, value in b.items() if ".IN." in key and ".bn" not in key}
    assert len(sums) == 4
    assert recognise(a | sums) is None


@cache
def state_of(name: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build_backbone(name).state_dict()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(
        ["resnet18_ibn_a&d", "resnet50_ibn_c", "resnet50_ibn_in", "densenet121_ibn_a"]
    ),
    data=st.data(),
)
def test_recognition_of_an_incomplete_network_does_not_crash(name, data):
    """Whichever keys are missing, the answer is a name or None."""
    state = state_of(name)
    early = [key for key in state if not key.startswith(("layer2", "layer3", "layer4"))][:60]
    lost = data.draw(st.sets(st.sampled_from(early)))
    found = recognise({key: value for key, value in state.items() if key not in lost})
    assert found is None or found.startswith(("resnet", "densenet"))


def test_tensors_without_the_axes_of_their_layer_are_not_recognised():
    state = state_of("resnet18_ibn_a&d")
    for key in ("layer1.0.conv2.weight", "layer1.0.bn1.IN.weight", "conv1.weight"):
        with case(key=key):
            assert recognise(state | {key: torch.tensor(1.0)}) in (None, "resnet18_ibn_a&d")
