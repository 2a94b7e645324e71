"""Networks that timm builds; it is imported here alone, when the first of them is asked for."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from ibnseg.support.errors import UserError, building, unknown_name

OFFICIAL = {
    f"dinov2_vit{size[0]}14{registers}": f"vit_{size}_patch14{of_timm}_dinov2"
    for size in ("small", "base", "large", "giant")
    for registers, of_timm in {"": "", "_reg": "_reg4"}.items()
}
"""timm's names of the networks that facebookresearch/dinov2 publishes, by the names there."""


def import_timm() -> ModuleType:
    """Imports timm.

    Raises:
        UserError: if it cannot be imported; the message names the extra that installs it.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError(f"timm cannot be imported ({error}): pip install 'ibnseg[timm]'") from error
    return timm


def timm_network(name: str, **options: object) -> nn.Module:
    """Builds a network of timm with random weights.

    Args:
        name: an architecture of ``timm.list_models()``, perhaps with the tag of its weights,
            e.g. ``vit_base_patch14_dinov2.lvd142m``.
        options: the arguments of ``timm.create_model``.

    Raises:
        UserError: if timm is missing, for an unknown name, and for options that the network does
            not take.
    """
    timm = import_timm()
    if name in OFFICIAL:
        raise UserError(f"unknown network of timm '{name}'; there it is {OFFICIAL[name]}")
    if not timm.is_model(name):
        raise unknown_name("network of timm", name, timm.list_models())
    with building(name):
        return timm.create_model(name, pretrained=False, **options)
