"""From a run to the archive that a server takes: one file a target."""

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
    """The target of that name.

    Raises:
        UserError: if there is none, with the nearest names.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return import_module(f"{__name__}.{TARGETS[name]}").TARGET
