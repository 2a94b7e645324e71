"""Files of ViTs (official, timm's, converted by Rein) with a network's names and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import NamedTuple

import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ibnseg.support.errors import UserError
from ibnseg.support.finite import some

RESAMPLES = ("timm", "rein")
"""How a patch kernel and positions of another size are resampled."""

REGISTERS = ("reg_token", "register_tokens", "storage_tokens")
"""What timm, DINOv2 and DINOv3 call the registers."""

COMBINED = ("pos_embed", "positional_embedding", "cls_token", "patch_embed.proj.weight", *REGISTERS)
"""The ends of names of weights that are resampled or added up, and so do not get lost."""


PATCHES = ("patch_embed.proj.weight", "conv1.weight")
"""The ends of the names of patch kernels: timm's and DINO's, CLIP's."""


class Measures(NamedTuple):
    """What two ViTs must have in common for one's weights to fit the other."""

    width: int
    blocks: int
    registers: int

    def __str__(self) -> str:
        return f"width {self.width}, {self.blocks} blocks, {self.registers} registers"


def measures_of(weights: Mapping[str, Tensor]) -> Measures | None:
    """Recognises a ViT by its weights, under timm's names or the official ones of DINO; returns
    ``None`` for anything else."""
    blocks = {int(found[1]) for key in weights if (found := re.match(r"blocks\.(\d+)\.", key))}
    norm = weights.get("blocks.0.norm1.weight")
    if norm is None:
        return None
    registers = next((weights[key].shape[1] for key in REGISTERS if key in weights), 0)
    return Measures(norm.numel(), max(blocks) + 1, registers)


def fitted(
    vit: nn.Module, weights: Mapping[str, Tensor], source: str, resample: str
) -> dict[str, Tensor]:
    """Gives weights the names of timm's network, its patch and its grid of positions.

    timm's ``checkpoint_filter_fn`` of the network's class does it. It knows timm's own files, the
    official ones of DINOv2, DINOv3, EVA02 and CLIP, and those that Rein converts, whose names are
    DINOv2's. The log says what is left out.

    Args:
        vit: an :class:`ibnseg.ViT <ibnseg.models.vit.ViT>`.
        weights: names to tensors.
        source: what messages call the file.
        resample: ``"timm"`` (pseudo-inverse for the patch kernel, antialiased bicubic for
            positions) or ``"rein"`` (plain bicubic for both, corners not aligned, the class token's
            position kept: Rein, ``tools/convert_models/convert_dinov2_large_512x512.py``).

    Raises:
        UserError: if they are of a ViT of another width, depth or number of registers, or cannot be
            resampled.
    """
    found, wanted = measures_of(weights), measures_of(vit.state_dict())
    if found is not None and found != wanted:
        raise UserError(f"{source}: a ViT of {found}; {vit.name} has {wanted}")
    given = dict(weights)
    plain = resample == "rein"
    try:
        for name in [key for key in given if key.endswith(PATCHES)] if plain else ():
            given[name] = _bicubic(given[name], vit.patch_embed.patch_size)
        with redirect_stdout(StringIO()):  # it prints what it looks for in vain
            to_timm = import_module(vit.timm_class.__module__).checkpoint_filter_fn
            own = dict(to_timm(dict(given), vit, antialias=not plain))
    except Exception as error:  # whatever shapes it stumbles over
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{source}: does not fit {vit.name} ({said})") from error
    _report_lost(given, own, source, vit.name)
    names = vit.state_dict().keys()
    for end in ("weight", "bias"):  # a network that pools before its last norm calls it so
        if f"norm.{end}" in names and f"norm.{end}" not in own and f"fc_norm.{end}" in own:
            own[f"norm.{end}"] = own.pop(f"fc_norm.{end}")
    return own


def _bicubic(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    if kernel.ndim != 4 or tuple(kernel.shape[2:]) == tuple(size):
        return kernel
    return F.interpolate(kernel.float(), size=size, mode="bicubic", align_corners=False)


def _report_lost(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str, name: str
) -> None:
    """Logs what the translation leaves out, and refuses to lose biases that are not zero."""
    kept = {each.untyped_storage().data_ptr() for each in own.values()}
    lost = [
        key
        for key, value in given.items()
        if value.untyped_storage().data_ptr() not in kept and not key.endswith(COMBINED)
    ]
    for key in lost:
        if key.endswith("qkv.bias"):
            query, _, value = given[key].chunk(3)  # DINOv3 masks the bias of keys
            if query.any() or value.any():
                raise UserError(
                    f"{source}: has biases in {key}, which {name} does not have; take the network "
                    f"{name.partition('.')[0]}_qkvb"
                )
    if lost:
        print_log(
            f"{source}: left out, because {name} does not use them: {some(lost, 4)}", "current"
        )
