"""Backbones with their classifier: against torchvision's, and weights that do not fit."""

import re

import numpy as np
import pytest
import torch
import torchvision

from ibnseg.models.classifier import load_classifier
from ibnseg.models.names import build_backbone
from ibnseg.support.errors import UserError
from tests.models.cases import case


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("resnet18", "resnet18"), ("densenet121", "densenet121"), ("resnext50", "resnext50_32x4d")],
)
def test_the_logits_equal_torchvisions(name, theirs):
    torch.manual_seed(0)
    other = getattr(torchvision.models, theirs)(weights=None, num_classes=7).eval()
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 64, 96)))
    for buffer in other.buffers():
        if buffer.ndim:
            buffer.add_(torch.rand_like(buffer))
    own = load_classifier(name, other.state_dict(), "theirs").double()
    assert not own.training
    with torch.no_grad():
        torch.testing.assert_close(own(x), other.double()(x), rtol=1e-10, atol=1e-10)


def weights(classes: int = 5) -> dict[str, torch.Tensor]:
    state = build_backbone("resnet18_ibn_a").state_dict()
    return {**state, "fc.weight": torch.ones(classes, 512), "fc.bias": torch.zeros(classes)}


def test_a_classifier_has_its_checkpoints_classes():
    network = load_classifier("resnet18_ibn_a", weights(), "x.pth")
    assert network.fc.out_features == 5
    assert (network.fc.weight == 1).all()


def test_a_checkpoint_without_a_classifier_is_refused():
    given = {k: v for k, v in weights().items() if k != "fc.bias"}
    with pytest.raises(UserError, match=r"x\.pth: has no classifier"):
        load_classifier("resnet18_ibn_a", given, "x.pth")


def test_a_classifier_of_another_shape_is_refused():
    for shape in [(5, 256), (4, 512), (5,), ()]:
        with case(shape=shape):
            given = weights() | {"fc.weight": torch.ones(shape)}
            with pytest.raises(
                UserError, match=rf"x\.pth: fc\.weight is {re.escape(str(shape))} and"
            ):
                load_classifier("resnet18_ibn_a", given, "x.pth")


def test_weights_of_another_network_are_refused_with_its_name():
    with pytest.raises(UserError, match="they look like resnet18_ibn_a, expected resnet18_ibn_b"):
        load_classifier("resnet18_ibn_b", weights(), "x.pth")
