"""The networks: the IBN layer, backbones, a head, and a segmentor that is lean in testing."""

from ibnseg.models.augmented import Augmented
from ibnseg.models.densenet import IBNDenseNet
from ibnseg.models.heads import DeepLabV3PlusHead
from ibnseg.models.norm import IBN
from ibnseg.models.pretrained import SplitPretrained
from ibnseg.models.resnet import IBNResNet, IBNResNeXt, IBNSEResNet
from ibnseg.models.segmentor import Segmentor

__all__ = [
    "IBN",
    "Augmented",
    "DeepLabV3PlusHead",
    "IBNDenseNet",
    "IBNResNeXt",
    "IBNResNet",
    "IBNSEResNet",
    "Segmentor",
    "SplitPretrained",
]
