"""Semantic segmentation of driving scenes across domains, with IBN-Net, on mmsegmentation."""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["load", "predict"]


def __getattr__(name: str) -> object:
    """``load`` and ``predict``, imported on first use: they need torch, and the commands' help does
    not."""
    if name in __all__:
        return getattr(import_module("ibnseg.networks.network"), name)
    raise AttributeError(f"module 'ibnseg' has no attribute '{name}'")
