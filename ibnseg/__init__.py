"""Semantic segmentation of driving scenes across domains, with IBN-Net, on mmsegmentation."""

import warnings
from importlib import import_module
from typing import Any

# mmcv's compiled operators are not used, and need not be installed
warnings.filterwarnings("ignore", "Fail to import ``MultiScaleDeformableAttention``")
# class weights need avg_non_ignore=False, and mmseg then leaves out ignored pixels all the same
warnings.filterwarnings("ignore", "Default ``avg_non_ignore`` is False")

__version__ = "0.2.0"

_HOMES = {
    "Domains": "datasets.domain",
    "create": "models.create",
    "from_pretrained": "networks.hub",
    "list_models": "models.create",
    "load": "networks.network",
    "predict": "networks.network",
    "test": "networks.testing",
    "train": "engine.run",
}
"""The module of each name. These are imported on first use, because they need torch, which the help
of the commands does not."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import_module("ibnseg.support.stack").check_opencv()
        return getattr(import_module(f"ibnseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ibnseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES} - {"Any", "import_module", "warnings"})
