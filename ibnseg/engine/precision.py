"""bfloat16 on any device: autocast, without loss scaling because its exponent is large."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper

from ibnseg.registry import OPTIM_WRAPPERS
from ibnseg.runs.kinds import PRECISIONS
from ibnseg.support.errors import unknown_name


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's optimiser wrapper with the forward pass under bfloat16 autocast; weights stay
    float32."""

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


WRAPPERS = {"float32": "OptimWrapper", "bfloat16": "ibnseg.BFloat16OptimWrapper"}
"""The optimiser wrapper that trains in each of ``PRECISIONS``."""


def autocast(precision: str) -> AbstractContextManager[None]:
    """Runs a network in one of ``PRECISIONS``; bfloat16 is autocast, and weights stay float32.

    Raises:
        UserError: for another precision.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    return torch.autocast(get_device(), torch.bfloat16, enabled=precision == "bfloat16")


def fast_bfloat16() -> bool:
    """Whether the device that networks run on computes in bfloat16 by itself."""
    if get_device() == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if get_device() != "cpu":
        return False
    return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)


EMULATED = 17
"""How many times as long as in float32 a step took in emulated bfloat16: IBN-Net18-a on crops of
CamVid, on a processor without it."""


def warn_if_emulated(precision: str) -> None:
    """Warns if a precision is bfloat16 and the device emulates it."""
    if precision == "bfloat16" and not fast_bfloat16():
        print_log(
            f"This device emulates bfloat16, which takes about {EMULATED} times as long as float32",
            logger="current",
            level=logging.WARNING,
        )
