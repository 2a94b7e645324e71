"""What networks of other libraries have in common as backbones."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from ibnseg.models import Timm, Torchvision

pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [(Timm, "test_efficientnet", {}), (Torchvision, "mobilenet_v2", dict(width_mult=0.25))],
)
def test_a_copy_and_another_precision_compute_with_weights_of_their_own(kind, name, options):
    torch.manual_seed(0)
    backbone = kind(name, options=options).eval()
    image = torch.randn(1, 3, 64, 64)
    expected = backbone(image)[-1]
    copy = deepcopy(backbone)
    for parameter in copy.parameters():
        parameter.data.zero_()
    assert torch.equal(backbone(image)[-1], expected)
    assert not copy(image)[-1].any()
    assert backbone.double()(image.double())[-1].dtype == torch.float64
