"""The kinds of networks that commands take beside runs, and how each is named.

The module of a kind has a function ``configure(source)``, which returns the values of a config, as
:func:`ibnseg.networks.facts.configured` makes them, without building the network. If its
``model`` is an ``ibnseg.Foreign``, the module also has ``build(source, facts)``, which returns what
computes: a callable that takes normalised images, (N, 3, H, W) float32 on the device, and returns
logits, (N, K, h, w) floating point, or classes, (N, h, w) integer, as a tensor or an array. If
it is a module of torch, it is moved to the device, and its layers can be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ibnseg.support.errors import UserError

HUGGING_FACE = "hf:"
PREDICTIONS = "predictions:"

_PYTHON = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class NetworkKind(NamedTuple):
    """A kind of network."""

    words: str
    """What it is, for messages and results."""
    form: str
    """How it is named, for help."""
    matches: Callable[[str], bool]
    home: str
    """The name of the module of ``ibnseg.networks`` that opens it."""
    sees_images: bool = True
    """Whether images can be shown to it."""

    @property
    def module(self) -> ModuleType:
        """The module that opens it, imported when it is needed."""
        return import_module(f"ibnseg.networks.{self.home}")


def _ends(suffix: str) -> Callable[[str], bool]:
    return lambda source: source.lower().endswith(suffix)


def _is_python(source: str) -> bool:
    return bool(_PYTHON.fullmatch(source)) and not Path(source).exists()


KINDS = (
    NetworkKind(
        "Hugging Face", "hf:NAME", lambda source: source.startswith(HUGGING_FACE), "hugging_face"
    ),
    NetworkKind(
        "predictions",
        "predictions:FOLDER",
        lambda source: source.startswith(PREDICTIONS),
        "label_maps",
        sees_images=False,
    ),
    NetworkKind("ONNX file", "FILE.onnx", _ends(".onnx"), "runtimes"),
    NetworkKind("OpenVINO file", "FILE.xml", _ends(".xml"), "runtimes"),
    NetworkKind("torch.export file", "FILE.pt2", _ends(".pt2"), "runtimes"),
    NetworkKind("Python", "MODULE:FUNCTION", _is_python, "python"),
)
"""The kinds; the first that matches counts."""


def kind_of(source: str | Path) -> NetworkKind | None:
    """Returns the kind of network that a source names; None for a run or a config."""
    return next((kind for kind in KINDS if kind.matches(str(source))), None)


def no_network(source: str) -> UserError:
    """Makes the error for label maps where a network is needed."""
    return UserError(
        f"{source}: label maps can only be tested (ibnseg test) and submitted, because there is no "
        "network that images could be shown to; give a network"
    )


def lasting(source: str) -> str:
    """Returns what names the same network from any folder: a path in it becomes absolute."""
    for prefix in (HUGGING_FACE, PREDICTIONS, ""):
        if source.startswith(prefix):
            path = Path(source.removeprefix(prefix)).expanduser()
            return f"{prefix}{path.resolve()}" if path.exists() else source
    return source
