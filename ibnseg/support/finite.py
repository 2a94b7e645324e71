"""Which tensors hold values that are not finite: NaN or infinity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def tensors_in(state: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walks through nested dicts, lists and tuples, and yields each tensor after its dotted
    name."""
    if isinstance(state, Tensor):
        yield name, state
        return
    if isinstance(state, Mapping):
        items = state.items()
    else:
        items = enumerate(state) if isinstance(state, (list, tuple)) else ()
    for key, each in items:
        yield from tensors_in(each, f"{name}.{key}" if name else str(key))


def non_finite(state: object) -> list[str]:
    """Lists the names of the tensors that hold NaN or infinity; the device is waited for once.

    Args:
        state: nested dicts, lists and tuples, e.g. a state dict.
    """
    found = [
        (name, tensor)
        for name, tensor in tensors_in(state)
        if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.is_meta
    ]
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, tensor in found:
        values = tensor.coalesce().values() if tensor.is_sparse else tensor
        if values.dtype.itemsize == 1:  # of torch's 8 bits, for which isfinite is not there
            values = values.float()
        by_device.setdefault(tensor.device, []).append((name, values.isfinite().all()))
    names = []
    for flags in by_device.values():
        finite = torch.stack([flag for _, flag in flags]).tolist()
        names += [name for (name, _), is_finite in zip(flags, finite, strict=True) if not is_finite]
    return names


def some(names: list[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
