"""A network of torchvision, here with random weights: ``ibnseg test torchvision_net:deeplab``."""

import torch
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from ibnseg.datasets.labels import CLASSES


class Logits(torch.nn.Module):
    """Gives the logits alone; torchvision's networks return them in a dict."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)["out"]


def deeplab() -> torch.nn.Module:
    torch.manual_seed(0)
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=19)
    # network.load_state_dict(torch.load("mine.pth", weights_only=True))
    return Logits(network)


deeplab.facts = dict(
    title="DeepLabV3 MobileNetV3",
    classes=CLASSES,
    channels="RGB",
    range=1,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    trained_on="nothing",
)
