"""Trains a network by ``torch.compile``, under the names that its weights have without."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.device import get_device
from torch import nn

from ibnseg.support.errors import UserError

PARTS = ("backbone", "neck", "decode_head", "auxiliary_head")
"""The modules of a segmentor whose forward passes are compiled."""

COMPILERS = {"darwin": "clang++", "win32": "cl"}
"""The C++ compiler that torch calls on a platform; elsewhere it is g++."""


def why_not() -> str | None:
    """Returns why torch cannot compile networks for the device on this machine; None if it can."""
    device = get_device()
    if device not in ("cpu", "cuda"):
        return f"torch does not compile for {device} well enough to train"
    if device == "cuda" and find_spec("triton") is None:
        return "the package triton is not installed"
    compiler = os.environ.get("CXX") or COMPILERS.get(sys.platform, "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler ({compiler}; $CXX names another)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are not installed (Python.h)"
    return None


def require_compiling(resumed: bool) -> None:
    """Checks that torch can compile networks on this machine.

    Args:
        resumed: whether a run is to go on, which has to keep ``compile``.

    Raises:
        UserError: if it cannot, with what is missing.
    """
    reason = why_not()
    if reason is not None:
        instead = "resume where it can be done" if resumed else "set compile=False"
        raise UserError(f"compile is True, but {reason}; install it, or {instead}")


@contextmanager
def compiled(network: nn.Module) -> Iterator[None]:
    """Lets the parts of a segmentor run compiled inside of the block, while they train.

    In evaluation they run as they are, because each size of image would be compiled anew. Weights
    keep their names. What is not one of :data:`PARTS`, such as losses, is not compiled.

    Args:
        network: a segmentor, without the wrapper for several processes.

    Raises:
        UserError: for a network with losses that look at its layers, which compiled code does not
            show; and when the network runs, if it cannot be compiled.
    """
    layers = getattr(network, "layers_looked_at", ())
    if layers:
        raise UserError(
            f"compile is True, but further_losses look at {layers[0]}, and compiled code does not "
            "show its layers; set compile=False"
        )
    found = [getattr(network, name, None) for name in PARTS]
    parts = [p for each in found for p in (each if isinstance(each, nn.ModuleList) else [each])]
    parts = [part for part in parts if isinstance(part, nn.Module)]
    for part in parts:
        part.forward = _in_training(part, part.forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward  # the class's own shows again


def _in_training(part: nn.Module, plain: Callable) -> Callable:
    fast = torch.compile(plain)

    def forward(*args: object, **kwargs: object) -> object:
        if not part.training:
            return plain(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = " ".join(str(error).split("\n")[:2]).strip()
            raise UserError(
                f"compile is True, but {type(part).__name__} cannot be compiled ({reason}); set "
                "compile=False"
            ) from error

    return forward
