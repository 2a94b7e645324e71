"""From predictions to numbers: confusion matrices, protocols, metrics and results.

Names are imported when first asked for: the commands' help lists protocols, and needs no torch.
"""

from importlib import import_module

_HOMES = {
    "PROTOCOLS": "protocols",
    "Confusion": "evaluator",
    "Protocol": "protocols",
    "Slide": "protocols",
    "View": "protocols",
    "get_protocol": "protocols",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
