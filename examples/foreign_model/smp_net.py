"""A network of segmentation-models-pytorch, here with random weights: ``smp_net:unet``."""

import segmentation_models_pytorch as smp
import torch

from ibnseg.datasets.labels import CLASSES

FACTS = dict(
    title="U-Net MobileNetV2",
    classes=CLASSES,
    channels="RGB",
    range=1,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    trained_on="nothing",
    stride=32,
)


def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    network = smp.Unet("mobilenet_v2", encoder_weights=None, classes=len(CLASSES))
    # network.load_state_dict(torch.load("mine.pth", weights_only=True))
    return network


unet.facts = FACTS
