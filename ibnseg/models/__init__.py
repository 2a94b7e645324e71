"""The networks: the IBN layer, backbones, a head, and a segmentor that is lean in testing."""

from ibnseg.models.augmented import Augmented
from ibnseg.models.deeplab import DeepLabV3PlusHead
from ibnseg.models.norm import IBN
from ibnseg.models.resnet import IBNResNet
from ibnseg.models.segmentor import Segmentor

__all__ = ["IBN", "Augmented", "DeepLabV3PlusHead", "IBNResNet", "Segmentor"]
