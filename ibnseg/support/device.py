"""The device that networks run on: mmengine's choice, or the user's."""

from __future__ import annotations

import os

import torch
from mmengine.device import utils

from ibnseg.support.errors import UserError

WORDS = "cpu, cuda, cuda:<number> or mps"


def use_device(name: str | None) -> None:
    """Makes networks run on a device from now on.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None leaves mmengine's choice, the GPU if
            there is one.

    Raises:
        UserError: for another name, a device that torch does not see, and a GPU's number if several
            processes share the work, since each of them has a GPU of its own.
    """
    if name is None:
        return
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device '{name}': expected {WORDS}") from None
    if device.type == "cuda":
        _use_gpu(name, device.index)
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("device 'mps': torch sees no Apple GPU; see ibnseg env")
    elif device.type != "cpu":
        raise UserError(f"device '{name}': expected {WORDS}")
    utils.DEVICE = device.type  # what mmengine's get_device returns


def _use_gpu(name: str, index: int | None) -> None:
    count = torch.cuda.device_count()
    if (index or 0) >= count:
        found = f"cuda:0 to cuda:{count - 1}" if count else "no GPU"
        raise UserError(f"device '{name}': torch sees {found}; see ibnseg env")
    if index is None:
        return
    if "RANK" in os.environ:
        raise UserError(
            f"device '{name}': each process of torchrun or Slurm has a GPU of its own; give cuda, "
            "or choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    torch.cuda.set_device(index)
