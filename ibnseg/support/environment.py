"""What a bug report needs: versions, devices, and where each domain's data is. ``ibnseg env``."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import ibnseg
from ibnseg.support.errors import UserError
from ibnseg.support.stack import DISTRIBUTIONS, UPSTREAM

GIB = 2**30


def describe_environment(roots: Mapping[str, str] | None = None) -> str:
    """Aligned lines of names and values, in three paragraphs: versions, devices, domains.

    Args:
        roots: data folders by name, from the command line.

    Raises:
        UserError: for a name in ``roots`` that no domain has.
    """
    facts = [versions(), devices(), domains(roots or {})]
    width = max(len(name) for paragraph in facts for name in paragraph)
    return "\n\n".join(
        "\n".join(f"{name:{width}}  {value}" for name, value in paragraph.items())
        for paragraph in facts
    )


def versions() -> dict[str, str]:
    """Versions of this package, of Python, the platform and what results depend on; upstream
    packages only where they are installed by mistake."""
    found = {name: _version(name) for name in (*DISTRIBUTIONS, *UPSTREAM)}
    return {
        "ibnseg": ibnseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: text or "missing" for name, text in found.items() if text or name not in UPSTREAM},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def devices() -> dict[str, str]:
    """The processor, the memory and the GPUs."""
    try:
        import torch
    except ImportError as error:
        return {"devices": f"torch cannot be imported ({error})"}
    fast = any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = {
        "CPU": f"{os.cpu_count()} cores, bfloat16 {'in hardware' if fast else 'emulated'}",
        "memory": f"{memory:.1f} GiB",
    }
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        fast = gpu.major >= 8
        found[f"GPU {i}"] = (
            f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, CUDA {torch.version.cuda}, "
            f"bfloat16 {'in hardware' if fast else 'emulated'}"
        )
    return found if torch.cuda.device_count() else {**found, "GPU": "none"}


def domains(roots: Mapping[str, str]) -> dict[str, str]:
    """Where the data of each packaged domain is, or was looked for."""
    from ibnseg.support.stack import check_stack

    try:
        check_stack()
    except UserError as error:
        return {"domains": str(error)}
    from ibnseg.datasets.domain import Domains

    domains = Domains()
    known = {name: domains[name] for name in domains}
    domains.check_roots(roots, known.values())
    found = {}
    for name, domain in known.items():
        tried = [place.absolute() for place in domain.places(roots)]
        there = next((place for place in tried if place.is_dir()), None)
        found[name] = str(there or f"not found: no folder {' nor '.join(map(str, tried))}")
    return found
