"""Backbones with a classifier, as they are published."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ibnseg.models.fitting import load_exactly
from ibnseg.models.names import build_backbone
from ibnseg.models.pretrained import CLASSIFIERS, load_backbone_weights
from ibnseg.support.errors import UserError


class Classifier(nn.Module):
    """A backbone, the mean over the positions of its last feature, and a linear layer.

    Args:
        backbone: one of :func:`ibnseg.models.names.build_backbone`.
        classes: number of classes K, 1 or more.

    Shape:
        ``(N, 3, H, W)`` to logits ``(N, K)``.
    """

    def __init__(self, backbone: nn.Module, classes: int = 1000) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(backbone.out_channels[-1], classes)
        self.num_classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.backbone(x)[-1].mean(dim=(2, 3)))


def load_classifier(name: str, weights: Mapping[str, Tensor], source: str) -> Classifier:
    """Builds a network with the classifier of a published checkpoint, in evaluation mode.

    Args:
        name: one of :data:`ibnseg.models.names.NAMES`.
        weights: from :func:`ibnseg.models.fitting.state_dict_of`, with ``fc.weight`` (K, C)
            and ``fc.bias`` (K,), or those of ``classifier``.
        source: what error messages call the checkpoint.

    Raises:
        UserError: if they are not the network's, or have no classifier.
    """
    backbone = build_backbone(name)
    load_backbone_weights(backbone, weights, source)
    found = [p for p in CLASSIFIERS if {f"{p}weight", f"{p}bias"} <= weights.keys()]
    if not found:
        raise UserError(
            f"{source}: has no classifier (weight and bias of fc or classifier); expected the "
            "weights of a whole network, as published"
        )
    weight, bias = weights[f"{found[0]}weight"], weights[f"{found[0]}bias"]
    expected = (bias.numel(), backbone.out_channels[-1])
    if bias.ndim != 1 or weight.shape != expected:
        raise UserError(
            f"{source}: {found[0]}weight is {tuple(weight.shape)} and {found[0]}bias "
            f"{tuple(bias.shape)}, expected {expected} and {expected[:1]}"
        )
    network = Classifier(backbone, len(bias))
    load_exactly(network.fc, dict(weight=weight, bias=bias), source)
    return network.eval()
