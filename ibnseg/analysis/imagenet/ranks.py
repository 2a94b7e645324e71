"""Ranks the true class of each image in each appearance, in one pass that can be interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ibnseg.analysis.imagenet.images import Crops, Listing
from ibnseg.appearance import IMAGENET_MEAN
from ibnseg.models.one_pass import separately
from ibnseg.support.ledger import Ledger
from ibnseg.support.memory import enough_memory
from ibnseg.support.progress import bar
from ibnseg.support.terminal import say

IMAGENET_STD = (58.395, 57.12, 57.375)
SAVE_EVERY = 60.0
"""Seconds between two writes of the ranks."""
NOT_YET = -1
"""The value that stands for the rank of an image that has not been shown."""

Changes = Mapping[str, Callable[[Tensor], Tensor]]
"""Functions that change how images look, by the names of the appearances.

Each maps (N, H, W, 3) float32, RGB on the scale of 0 to 255, to the same."""


def rank_of_truth(logits: Tensor, truth: Tensor) -> Tensor:
    """Counts the other classes whose logit is not below that of the true class.

    Among equal logits the true class is last, and behind all others if its logit is not a number.

    Args:
        logits: (N, K).
        truth: (N,) int64, in [0, K).

    Returns:
        (N,) int16 in [0, K); an image is right by top-k if its rank is below k.
    """
    below = logits < logits.gather(1, truth[:, None])
    return (logits.shape[1] - 1 - below.sum(dim=1)).to(torch.int16)


def error(ranks: np.ndarray, k: int) -> float:
    """Returns the top-k error of (N,) ranks, in percent."""
    return 100 * np.count_nonzero(ranks >= k) / len(ranks)


@separately()
@torch.inference_mode()
def ranks_by_look(network: nn.Module, images: Tensor, truth: Tensor, looks: Changes) -> np.ndarray:
    """Shows images to a network in several appearances, and ranks their true classes.

    Args:
        network: maps (N, 3, H, W) float32, normalised, to logits (N, K).
        images: (N, H, W, 3) uint8, RGB.
        truth: (N,) int64 indices of classes.
        looks: the A appearances, applied in float32 before the normalisation.

    Returns:
        (A, N) int16 ranks of the true class.
    """
    device = next(network.parameters()).device
    images, truth = images.to(device, torch.float32), truth.to(device)
    mean, std = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
    ranks = [
        rank_of_truth(network(((change(images) - mean) / std).permute(0, 3, 1, 2)), truth)
        for change in looks.values()
    ]
    return torch.stack(ranks).cpu().numpy()


def rank_images(
    network: nn.Module,
    listing: Listing,
    looks: Changes,
    file: Path,
    weights: Mapping[str, str],
    batch: int = 64,
    workers: int = 0,
) -> np.ndarray:
    """Ranks the true class of each image in each appearance; each image is read once.

    Args:
        network, looks: as for :func:`ranks_by_look`.
        listing: the images.
        file: an npz with the ranks, written every minute and at the end, even if the end is an
            exception. What it holds for the same weights, images and appearances is not measured
            again.
        weights: facts that identify the network's weights.
        batch: images that go through the network at a time.
        workers: processes that read images, at most one a core.

    Returns:
        (A, N) int16 ranks.

    Raises:
        UserError: for an unreadable image, too little memory, a file that cannot be written.
    """
    identity = {**weights, "appearances": list(looks), "classes": listing.classes}
    ledger = Ledger(file, "ranks", identity)
    images_of = {"paths": listing.paths, "stamps": listing.stamps}
    ranks = ledger.read_or_restart(partial(_ranks_of, listing))
    if ranks is None:
        ranks = np.full((len(looks), len(listing.paths)), NOT_YET, np.int16)
    left = np.flatnonzero((ranks == NOT_YET).any(axis=0)).tolist()
    count, done = ranks.shape[1], ranks.shape[1] - len(left)
    if done:
        say(f"{file}: {done} of {count} images are there already")
    if not left:
        return ranks
    loader = DataLoader(
        Subset(Crops(listing), left),
        batch,
        num_workers=min(workers, os.cpu_count() or 1, -(-len(left) // batch)),
        pin_memory=torch.cuda.is_available(),
    )
    truth, saved = torch.from_numpy(listing.truth), time.monotonic()
    with bar() as progress:
        task = progress.add_task(f"Classifying {listing.folder.name}", total=count, completed=done)
        try:
            for indices, images in loader:
                with enough_memory(f"{len(images)} images at a time", "lower --batch"):
                    ranks[:, indices.numpy()] = ranks_by_look(
                        network, images, truth[indices], looks
                    )
                progress.advance(task, len(images))
                if time.monotonic() - saved > SAVE_EVERY:
                    ledger.write(ranks=ranks, **images_of)
                    saved = time.monotonic()
        finally:
            ledger.write(ranks=ranks, **images_of)
    return ranks


def _ranks_of(listing: Listing, content: Mapping[str, np.ndarray]) -> np.ndarray:
    """(A, N) int16 ranks of a listing's images; those of new and changed images are ``NOT_YET``."""
    stamps = map(tuple, content["stamps"].tolist())
    columns = {key: i for i, key in enumerate(zip(content["paths"], stamps, strict=True))}
    keys = zip(listing.paths, map(tuple, listing.stamps.tolist()), strict=True)
    missing = content["ranks"].shape[1]
    kept = np.pad(content["ranks"], ((0, 0), (0, 1)), constant_values=NOT_YET)
    return kept[:, [columns.get(key, missing) for key in keys]]
