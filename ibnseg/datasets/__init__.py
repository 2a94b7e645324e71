"""Adapters of driving datasets: from the official downloads to images and train ids.

They are imported when first asked for, so that what needs no torch starts at once.
"""

from importlib import import_module

_HOMES = {
    "BDD100K": "bdd100k",
    "BDD100KDrivable": "bdd100k",
    "GTA5": "gta5",
    "CamVid": "camvid",
    "Cityscapes": "cityscapes",
    "ClassUniformSampler": "uniform",
    "ColorJitter": "augment.photometric",
    "CropAround": "transforms",
    "GaussianBlur": "augment.photometric",
    "LoadImage": "transforms",
    "LoadInstances": "transforms",
    "LoadLabel": "transforms",
    "MapillaryVistas": "mapillary",
    "Pack": "transforms",
    "RandomScaleAspect": "transforms",
    "StreamSampler": "sampler",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
