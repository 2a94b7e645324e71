"""From files to tensors: loading with checks, geometry, further views, packing."""

from ibnseg.datasets.transforms.geometry import (
    INTERPOLATION,
    SCALE_SAMPLING,
    CropAround,
    RandomScaleAspect,
    log_uniform,
)
from ibnseg.datasets.transforms.loading import (
    LoadImage,
    LoadInstances,
    LoadLabel,
    colors_to_train_ids,
    ids_to_train_ids,
    read_image,
    read_instances,
    read_label,
)
from ibnseg.datasets.transforms.packing import FurtherView, Pack

__all__ = [
    "INTERPOLATION",
    "SCALE_SAMPLING",
    "CropAround",
    "FurtherView",
    "LoadImage",
    "LoadInstances",
    "LoadLabel",
    "Pack",
    "RandomScaleAspect",
    "colors_to_train_ids",
    "ids_to_train_ids",
    "log_uniform",
    "read_image",
    "read_instances",
    "read_label",
]
