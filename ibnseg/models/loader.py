"""mmengine's loader of checkpoints, by which its own modules and mmseg's start (``init_cfg``).

A checkpoint that cannot be read as data it reads again in a way that runs the checkpoint's code.
Once this module is imported, it reads all of them as :func:`read_checkpoint` does.
"""

from __future__ import annotations

from mmengine.runner.checkpoint import CheckpointLoader

from ibnseg.models.checkpoints import read_checkpoint

SCHEMES = (
    "",  # paths
    "http://",
    "https://",
    "torchvision://",
    "timm://",
    "modelzoo://",
    "open-mmlab://",
    "openmmlab://",
    "mmcls://",
    "pavi://",
    r"(\S+\:)?s3://",
    r"(\S+\:)?petrel://",
)
"""All beginnings of a source for which mmengine has a loader."""


def _load(filename: str, map_location: object = None) -> dict:
    return read_checkpoint(filename)


CheckpointLoader.register_scheme(SCHEMES, _load, force=True)
