"""Adapters of driving datasets: from the official downloads to images and train ids."""

from ibnseg.datasets.camvid import CamVid
from ibnseg.datasets.cityscapes import Cityscapes
from ibnseg.datasets.gta5 import GTA5
from ibnseg.datasets.sampler import StreamSampler
from ibnseg.datasets.transforms import LoadImage, LoadLabel, Pack, RandomScaleAspect

__all__ = [
    "GTA5",
    "CamVid",
    "Cityscapes",
    "LoadImage",
    "LoadLabel",
    "Pack",
    "RandomScaleAspect",
    "StreamSampler",
]
