"""Semantic segmentation of driving scenes across domains, with IBN-Net, on mmsegmentation."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "Domains": "datasets.domain",
    "create": "models.create",
    "list_models": "models.create",
    "load": "networks.network",
    "predict": "networks.network",
    "test": "engine.run",
    "train": "engine.run",
}
"""Where each name lives: they are imported on first use, because they need torch, and the
commands' help does not."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ibnseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ibnseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES} - {"Any", "import_module"})
