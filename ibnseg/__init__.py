"""Semantic segmentation of driving scenes across domains, with IBN-Net, on mmsegmentation."""

__version__ = "0.1.0"
