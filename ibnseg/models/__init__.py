"""The networks: the IBN layer, backbones, heads, and a segmentor that is lean in testing.

The backbones need torch, torchvision, mmengine and mmcv, and those of timm the extra ``[timm]``.
What needs mmseg is imported when it is first asked for.
"""

from importlib import import_module

from ibnseg.models import loader  # noqa: F401 (mmengine reads checkpoints as data from now on)
from ibnseg.models.densenet import IBNDenseNet
from ibnseg.models.norm import IBN
from ibnseg.models.pretrained import SplitPretrained
from ibnseg.models.resnet import IBNResNet, IBNResNeXt, IBNSEResNet
from ibnseg.models.timm_backbone import Timm
from ibnseg.models.torchvision_backbone import Torchvision
from ibnseg.models.vit import ViT

_NEED_MMSEG = {
    "Augmented": "augmented",
    "DeepLabV3PlusHead": "heads",
    "LightHead": "heads",
    "LinearHead": "heads",
    "Preprocessor": "preprocessor",
    "QueryHead": "heads",
    "Segmentor": "segmentor",
    "build_network": "build",
}
"""The module of each name that needs mmseg."""

__all__ = [
    "IBN",
    "IBNDenseNet",
    "IBNResNeXt",
    "IBNResNet",
    "IBNSEResNet",
    "SplitPretrained",
    "Timm",
    "Torchvision",
    "ViT",
    *_NEED_MMSEG,
]


def __getattr__(name: str) -> object:
    if name not in _NEED_MMSEG:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_MMSEG[name]}"), name)
