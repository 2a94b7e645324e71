"""Decode heads: from a backbone's feature maps to logits."""

from ibnseg.models.heads.deeplabv3plus import DeepLabV3PlusHead
from ibnseg.models.heads.light import LightHead
from ibnseg.models.heads.linear import LinearHead
from ibnseg.models.heads.query import QueryHead

__all__ = ["DeepLabV3PlusHead", "LightHead", "LinearHead", "QueryHead"]
