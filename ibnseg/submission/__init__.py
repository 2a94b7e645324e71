"""Makes and checks the archives that benchmarks' servers take; each target has a file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ibnseg.support.errors import unknown_name

if TYPE_CHECKING:
    from ibnseg.submission.target import Target

TARGETS = {
    "bdd100k-drivable": "bdd100k_drivable",
    "wad2018-drivable": "wad2018_drivable",
    "bdd100k-sem-seg": "bdd100k_sem_seg",
    "cityscapes": "cityscapes",
}
"""Names of the targets, and the modules that describe them."""


def get_target(name: str) -> Target:
    """Returns the target with a name of ``TARGETS``.

    Raises:
        UserError: for an unknown name, with the nearest ones.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return import_module(f"{__name__}.{TARGETS[name]}").TARGET
