"""From files to tensors: loading with checks, geometry, further views, packing."""

from ibnseg.datasets.pictures import read_image, read_instances, read_label, read_upright
from ibnseg.datasets.transforms.geometry import (
    INTERPOLATION,
    SCALE_SAMPLING,
    CropAround,
    RandomScaleAspect,
    ScaleCrop,
    log_uniform,
)
from ibnseg.datasets.transforms.loading import (
    LoadImage,
    LoadInstances,
    LoadLabel,
    colors_to_train_ids,
    ids_to_train_ids,
)
from ibnseg.datasets.transforms.packing import FurtherView, Pack
from ibnseg.datasets.transforms.resizing import CentredResize, check_resizes, resize_label

__all__ = [
    "INTERPOLATION",
    "SCALE_SAMPLING",
    "CentredResize",
    "CropAround",
    "FurtherView",
    "LoadImage",
    "LoadInstances",
    "LoadLabel",
    "Pack",
    "RandomScaleAspect",
    "ScaleCrop",
    "check_resizes",
    "colors_to_train_ids",
    "ids_to_train_ids",
    "log_uniform",
    "read_image",
    "read_instances",
    "read_label",
    "read_upright",
    "resize_label",
]
