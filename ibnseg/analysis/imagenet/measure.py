"""Measures a classifier's top-1 and top-5 errors under the appearances of the paper's table 1: what
``ibnseg imagenet`` does."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.device import get_device

from ibnseg.analysis.imagenet.images import Listing, list_images
from ibnseg.analysis.imagenet.ranks import Changes, error, rank_images
from ibnseg.analysis.imagenet.report import STYLED, sheet
from ibnseg.appearance import PAPER
from ibnseg.models.checkpoints import locate, read_checkpoint
from ibnseg.models.classifier import load_classifier
from ibnseg.models.fitting import state_dict_of
from ibnseg.models.names import NAMES
from ibnseg.models.zoo import PUBLISHED, SCHEME
from ibnseg.report.terminal import sheet_text
from ibnseg.support.environment import versions
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import alone_in, as_path, sha256, written_whole
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.terminal import say


@losses_in_one_line("--workers 0")
def measure_imagenet(
    model: str,
    folder: str | Path,
    *,
    checkpoint: str | Path | None = None,
    styled: str | Path | None = None,
    out: str | Path | None = None,
    batch: int = 64,
    workers: int = 4,
) -> dict:
    """Measures a network's top-1 and top-5 errors under the appearances of the paper's table 1,
    prints them beside the paper's, and writes them.

    ``out/imagenet.json`` has the errors, ``out/ranks.npz`` (and ``ranks_styled.npz``) the rank of
    the true class of every image, with which an interrupted command continues.

    Args:
        model: one of :data:`ibnseg.models.names.NAMES`.
        folder: images, in a sub-folder for each class; sorted by name, the sub-folders are in the
            order of the network's classes.
        checkpoint: as for :func:`ibnseg.models.checkpoints.read_checkpoint`; the published one by
            default.
        styled: stylised images, in sub-folders with the names of those of ``folder``, or of some.
        out: the folder of the results; ``work_dirs/imagenet/<model>`` by default.
        batch: images that go through the network at a time.
        workers: processes that read images, at most one a core.

    Returns:
        What ``imagenet.json`` holds.

    Raises:
        UserError: for wrong input: an unknown network, weights that are missing or belong to
            another network, folders that do not fit, an unreadable image.
    """
    if model not in NAMES:
        raise unknown_name("network", model, NAMES)
    if checkpoint is None and model not in PUBLISHED:
        raise UserError(f"{model}: no weights are published for it; give some with --checkpoint")
    source = str(checkpoint or f"{SCHEME}{model}")
    out = as_path(out or Path("work_dirs", "imagenet", model))
    listings = {"ranks": list_images(folder)}
    looks: dict[str, Changes] = {"ranks": PAPER}
    if styled is not None:
        listings["ranks_styled"] = list_images(styled, listings["ranks"])
        looks["ranks_styled"] = {STYLED: PAPER["origin"]}
    for listing in listings.values():
        if listing.left_out:
            say(f"{listing.folder}: {listing.left_out} are no images and left out")
    network = load_classifier(model, state_dict_of(read_checkpoint(source), source), source)
    _require_outputs(network.fc.out_features, listings["ranks"], source)
    network = network.to(get_device(), memory_format=torch.channels_last)
    weights = dict(model=model, checkpoint_sha256=sha256(locate(source)[1]))
    errors = {}
    with alone_in(out, "is being measured"):
        for name, listing in listings.items():
            file = out / f"{name}.npz"
            ranks = rank_images(network, listing, looks[name], file, weights, batch, workers)
            for look, of_images in zip(looks[name], ranks, strict=True):
                top1, top5 = (error(of_images, k) for k in (1, 5))
                errors[look] = dict(images=len(of_images), top1=top1, top5=top5)
        result = dict(
            schema=1,
            **weights,
            checkpoint=source,
            folder=str(folder),
            styled=styled and str(styled),
            errors=errors,
            versions=versions(),
        )
        with written_whole(out / "imagenet.json") as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    files = ", ".join(f"{out / name}.npz" for name in listings)
    print(f"\n{sheet_text(sheet(result))}\n")
    say(f"Results: {out / 'imagenet.json'}, {files}")
    return result


def _require_outputs(outputs: int, listing: Listing, source: str) -> None:
    if len(listing.classes) != outputs:
        raise UserError(
            f"{listing.folder}: has {len(listing.classes)} sub-folders, {source} has {outputs} "
            "classes; expected one sub-folder for each class"
        )
