"""The networks: the IBN layer, backbones, a head, and a segmentor that is lean in testing."""

from ibnseg.models.deeplab import DeepLabV3PlusHead
from ibnseg.models.norm import IBN
from ibnseg.models.resnet import IBNResNet
from ibnseg.models.segmentor import Segmentor

__all__ = ["IBN", "DeepLabV3PlusHead", "IBNResNet", "Segmentor"]
