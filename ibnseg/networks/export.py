"""Writes a trained network as a file that needs no other: what ``ibnseg export`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ibnseg.engine.checkpoint import plain
from ibnseg.engine.read import find_network
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.partial import KEPT_IN_FILES
from ibnseg.networks.loading import load_network
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, written_whole
from ibnseg.support.terminal import say


def export_weights(
    source: str | Path,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    options: Sequence[str] = (),
) -> Path:
    """Writes all weights of a network in one file, those of a frozen backbone included.

    The file is a checkpoint of the same network, without what training alone needs. Loading it
    needs no file of the backbone. Adapters stay as they are.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        out: the file.

    Returns:
        The file.

    Raises:
        UserError: for wrong input, and if the file cannot be written or would replace the
            checkpoint.
    """
    cfg, checkpoint = find_network(source, checkpoint, options)
    out = as_path(out)
    if out.resolve() == checkpoint.resolve():
        raise UserError(f"{out} is the checkpoint itself; give another --out")
    network = load_network(cfg, checkpoint)
    weights = {k: value.cpu().contiguous() for k, value in network.state_dict().items()}
    meta = read_checkpoint(checkpoint).get("meta")
    with written_whole(out) as temporary:
        torch.save(dict(meta=_meta(meta), state_dict=weights), temporary)
    size = sum(each.numel() * each.element_size() for each in weights.values())
    say(f"{out}: {len(weights)} weights, {size / 2**20:.1f} MiB, of {checkpoint}")
    return out


def _meta(given: object) -> dict:
    """What a checkpoint says of itself, as far as it is plain data."""
    found = {}
    for key, value in given.items() if isinstance(given, Mapping) else ():
        try:
            found[key] = plain(value)
        except TypeError:  # of another tool
            continue
    found.pop(KEPT_IN_FILES, None)
    return found
