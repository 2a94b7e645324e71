"""bfloat16 on any device: autocast, without loss scaling because its exponent is large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from ibnseg.registry import OPTIM_WRAPPERS
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


INFERENCE = ("float32", "bfloat16")
"""The precisions in which networks are tested and predict."""


def autocast(precision: str) -> AbstractContextManager[None]:
    """Runs a network in one of ``INFERENCE``; bfloat16 is autocast, and weights stay float32.

    Raises:
        UserError: for another precision.
    """
    if precision not in INFERENCE:
        raise unknown_name("precision", precision, INFERENCE)
    return torch.autocast(get_device(), torch.bfloat16, enabled=precision == "bfloat16")


def fast_bfloat16() -> bool:
    """Whether the device that networks run on computes in bfloat16 by itself."""
    if get_device() == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
