"""Versions and devices, which a bug report needs to say."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

import ibnseg
from ibnseg.support.stack import UPSTREAM, installed_version, versions_of_stack

GIB = 2**30


def aligned(paragraphs: Sequence[Mapping[str, str]]) -> str:
    """Writes names and values as aligned lines, with an empty line between paragraphs."""
    width = max(len(name) for paragraph in paragraphs for name in paragraph)
    return "\n\n".join(
        "\n".join(f"{name:{width}}  {value}" for name, value in paragraph.items())
        for paragraph in paragraphs
    )


def versions() -> dict[str, str]:
    """The versions of this package, of Python, of the platform and of what results depend on.

    Upstream packages are listed only if they are installed by mistake.
    """
    found = versions_of_stack() | {name: installed_version(name) for name in UPSTREAM}
    return {
        "ibnseg": ibnseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: text or "missing" for name, text in found.items() if text or name not in UPSTREAM},
        "timm": installed_version("timm") or "not installed",
    }


def memory_of_machine() -> str:
    """Describes the memory of the machine in words; the system may not say it, e.g. Windows."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.1f} GiB"
    except (AttributeError, ValueError, OSError):
        return "memory of unknown size"


def devices() -> dict[str, str]:
    """Describes the processor, the memory and the GPUs by name, as the lines of a bug report."""
    try:
        import torch
    except ImportError as error:
        return {"devices": f"torch cannot be imported ({error})"}
    fast = any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    found = {
        "CPU": f"{os.cpu_count()} cores, bfloat16 {'in hardware' if fast else 'emulated'}",
        "memory": memory_of_machine(),
    }
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        fast = gpu.major >= 8
        found[f"GPU {i}"] = (
            f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, CUDA {torch.version.cuda}, "
            f"bfloat16 {'in hardware' if fast else 'emulated'}"
        )
    return found if torch.cuda.device_count() else {**found, "GPU": "none"}
