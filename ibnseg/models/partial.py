"""Checkpoints without the weights of a frozen backbone, which are read from its own file again.

Such a backbone is a :class:`~ibnseg.models.pretrained.Pretrainable` that was filled from a file and
some of whose parameters are not trained. A checkpoint has their number and hash instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fitting import state_dict_of
from ibnseg.support.errors import UserError

KEPT_IN_FILES = "kept_in_files"
"""The entry of a checkpoint's ``meta`` that says what the checkpoint lacks: by the name of a
backbone, its type, the source and number of its frozen weights, and their :func:`digest`."""

ENTRIES = {"network", "source", "tensors", "sha256"}
"""What is said of each backbone."""

AVERAGED = "ema_state_dict"
"""The second weights in a checkpoint of a training with mmengine's ``EMAHook``."""


def digest(weights: Mapping[str, Tensor]) -> str:
    """Computes the SHA-256 of named tensors, as hexadecimal digits: of their names, types, shapes
    and values, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def frozen_names(network: nn.Module) -> set[str]:
    """Names the parameters of a network that its checkpoints leave out if they are as a backbone's
    file has them."""
    return {f"{name}.{own}" for name, part in _parts(network) for own in part.frozen_names()}


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if name and getattr(module, "is_from_file", False) and module.frozen_names():
            yield name, module


def leave_out(network: nn.Module, checkpoint: dict) -> None:
    """Takes out of a checkpoint the frozen weights that are those of a file, and notes them in
    ``meta``.

    What is not as the file has it, e.g. because the training started from another checkpoint,
    stays.

    Args:
        network: the network whose checkpoint it is.
        checkpoint: with ``state_dict``, ``meta`` and perhaps ``ema_state_dict``; is changed.
    """
    weights, averaged = checkpoint["state_dict"], checkpoint.get(AVERAGED, {})
    kept = {}
    for prefix, part in _parts(network):
        own = {name: weights[f"{prefix}.{name}"] for name in part.frozen_names()}
        others = {name: averaged.get(f"module.{prefix}.{name}") for name in own}
        is_averaged = any(o is not None and not torch.equal(o, own[n]) for n, o in others.items())
        if is_averaged or part.hash_in_file != digest(own):
            continue
        kept[prefix] = dict(
            network=getattr(part, "name", type(part).__name__),
            source=part.source,
            tensors=len(own),
            sha256=part.hash_in_file,
        )
        for name in own:
            weights.pop(f"{prefix}.{name}")
            averaged.pop(f"module.{prefix}.{name}", None)
    if kept:
        checkpoint["meta"][KEPT_IN_FILES] = kept


def whole_checkpoint(source: str) -> Mapping:
    """Reads a checkpoint that a backbone starts from, which may not lack anything.

    Raises:
        UserError: as :func:`~ibnseg.models.checkpoints.read_checkpoint`, and for one without the
            weights of its frozen backbone.
    """
    checkpoint = read_checkpoint(source)
    meta = checkpoint.get("meta")
    if isinstance(meta, Mapping) and meta.get(KEPT_IN_FILES):
        raise UserError(
            f"{source}: lacks frozen weights, which are in a file of their own; write all of them "
            "with ibnseg export RUN --full --out FILE, and take that file"
        )
    return checkpoint


def weights_for(network: nn.Module, checkpoint: Mapping, source: str) -> dict[str, Tensor]:
    """Takes a network's weights out of a checkpoint
    (:func:`~ibnseg.models.fitting.state_dict_of`), with those that are in its backbone's file.

    Raises:
        UserError: as that function and :func:`completed`.
    """
    weights = state_dict_of(checkpoint, source)
    return completed(network, {**checkpoint, "state_dict": weights}, source)["state_dict"]


def completed(network: nn.Module, checkpoint: Mapping, source: str) -> dict:
    """Adds to a checkpoint what :func:`leave_out` took out of it: the network's own weights, which
    are read from the backbone's file (``init_cfg``) unless that has been done.

    Args:
        network: the network whose checkpoint it is.
        checkpoint: with ``state_dict``, its weights under the network's names.
        source: what error messages call it.

    Returns:
        The checkpoint, or a complete copy.

    Raises:
        UserError: if the backbone's file is missing or is not the one of the training.
    """
    meta = checkpoint.get("meta")
    kept = meta.get(KEPT_IN_FILES) if isinstance(meta, Mapping) else None
    if not kept:
        return dict(checkpoint)
    entries = kept.values() if isinstance(kept, Mapping) else [None]
    if not all(isinstance(each, Mapping) and each.keys() >= ENTRIES for each in entries):
        raise UserError(
            f"{source}: its meta.{KEPT_IN_FILES} is damaged; take another checkpoint of the run"
        )
    weights, averaged = dict(checkpoint["state_dict"]), dict(checkpoint.get(AVERAGED, {}))
    for prefix, entry in kept.items():
        own = _from_file(network, prefix, entry, source)
        weights |= {f"{prefix}.{name}": value for name, value in own.items()}
        averaged |= {f"module.{prefix}.{name}": value for name, value in own.items()}
    both = dict(state_dict=weights) | ({AVERAGED: averaged} if AVERAGED in checkpoint else {})
    return {**checkpoint, **both}


def _from_file(network: nn.Module, prefix: str, entry: Mapping, source: str) -> dict[str, Tensor]:
    """The frozen weights of a part of a network, as its file has them."""
    lacks = f"{source}: lacks the frozen weights of {prefix} ({entry['network']})"
    part = dict(network.named_modules()).get(prefix)
    names = part.frozen_names() if hasattr(part, "frozen_names") else ()
    if len(names) != entry["tensors"] or not part.is_from_file:
        raise UserError(
            f"{lacks}, and the config has no such part; it needs the frozen {prefix} of the "
            f"training with init_cfg of {entry['source']}"
        )
    if part.hash_in_file is None:
        try:
            part.load_pretrained()
        except UserError as error:
            raise UserError(
                f"{lacks}, which are in a file of their own: {error}; put it there, or set "
                f"model.{prefix}.init_cfg.checkpoint"
            ) from error
    state = part.state_dict()
    own = {name: state[name] for name in names}
    found = digest(own)
    if found != entry["sha256"]:
        raise UserError(
            f"{lacks}, and {part.source} has others than the training had: their SHA-256 begins "
            f"with {found[:8]}, expected {entry['sha256'][:8]}; set "
            f"model.{prefix}.init_cfg.checkpoint to the file of the training ({entry['source']})"
        )
    return own
