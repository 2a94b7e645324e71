"""Errors of a classifier on ImageNet, and how they grow as the look of the images changes: what
``ibnseg imagenet`` does."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from mmengine.device import get_device
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
from torchvision.transforms import CenterCrop, Compose, Resize

from ibnseg.appearance import IMAGENET_MEAN, PAPER
from ibnseg.models.checkpoints import locate, read_checkpoint, state_dict_of
from ibnseg.models.classifier import load_classifier
from ibnseg.models.names import NAMES
from ibnseg.models.zoo import PUBLISHED, SCHEME, paper_errors
from ibnseg.report.sheet import Sheet
from ibnseg.report.terminal import sheet_text
from ibnseg.support.environment import versions
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import require_writable, sha256, written_whole
from ibnseg.support.memory import enough_memory
from ibnseg.support.progress import bar

IMAGENET_STD = (58.395, 57.12, 57.375)
RESIZE, CROP = 256, 224
SAVE_EVERY = 60.0
"""Seconds between two writes of the ranks."""
NOT_YET = -1
"""The rank of an image that has not been shown."""
STYLED = "styled"
"""What the images of a folder of their own are called among the appearances."""
PAPERS_STYLE = "Monet"
"""That of the stylised images in the paper's table 1."""

Appearances = Mapping[str, Callable[[Tensor], Tensor]]


def measure(
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
    the true class of every image, with which an interrupted command goes on.

    Args:
        model: one of :data:`ibnseg.models.names.NAMES`.
        folder: has one sub-folder a class, in the order of their names.
        checkpoint: as for :func:`ibnseg.models.checkpoints.read_checkpoint`; the published one by
            default.
        styled: stylised images, with sub-folders as those of ``folder``, not necessarily all.
        out: default ``work_dirs/imagenet/<model>``.
        batch: images that go through the network at a time.
        workers: processes that read images, at most one a core.

    Returns:
        What ``imagenet.json`` holds.

    Raises:
        UserError: for wrong input: an unknown network, weights that are missing or of another one,
            folders that do not fit, an unreadable image.
    """
    if model not in NAMES:
        raise unknown_name("network", model, NAMES)
    if checkpoint is None and model not in PUBLISHED:
        raise UserError(f"{model}: no weights of it are published; give some with --checkpoint")
    source = str(checkpoint or f"{SCHEME}{model}")
    out = Path(out or Path("work_dirs", "imagenet", model))
    listings = {"ranks": list_images(folder)}
    looks: dict[str, Appearances] = {"ranks": PAPER}
    if styled is not None:
        listings["ranks_styled"] = list_images(styled, listings["ranks"])
        looks["ranks_styled"] = {STYLED: PAPER["origin"]}
    require_writable(out)
    network = load_classifier(model, state_dict_of(read_checkpoint(source), source), source)
    _require_outputs(network.fc.out_features, listings["ranks"], source)
    network = network.to(get_device(), memory_format=torch.channels_last)
    weights = dict(model=model, checkpoint_sha256=sha256(locate(source)[1]))
    errors = {}
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
    print(f"\n{sheet_text(sheet(result))}\n\nResults: {out / 'imagenet.json'}, {files}")
    return result


# ---- what is counted ---------------------------------------------------------------------------


def rank_of_truth(logits: Tensor, truth: Tensor) -> Tensor:
    """How many other classes have a logit that is not below that of the true class.

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
    """Top-k error in percent, of (N,) ranks."""
    return 100 * np.count_nonzero(ranks >= k) / len(ranks)


@torch.inference_mode()
def ranks_by_look(
    network: nn.Module, images: Tensor, truth: Tensor, looks: Appearances
) -> np.ndarray:
    """Shows images in several appearances.

    Args:
        network: (N, 3, H, W) float32, normalised, to logits (N, K).
        images: (N, H, W, 3) uint8, RGB.
        truth: (N,) int64 indices of classes.
        looks: of :mod:`ibnseg.appearance`; applied in float32 before the normalisation.

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


# ---- images ------------------------------------------------------------------------------------


class Listing(NamedTuple):
    """The images of a folder that has a sub-folder for each class."""

    folder: Path
    classes: list[str]
    """Names of the sub-folders, sorted."""
    paths: list[str]
    """Of the N images, relative to the folder."""
    truth: np.ndarray
    """(N,) int64 indices of their classes."""
    stamps: np.ndarray
    """(N, 2) int64: size in bytes and time of change in ns, by which a changed image is known."""


def list_images(folder: str | Path, like: Listing | None = None) -> Listing:
    """Lists a folder's images.

    Args:
        folder: has one sub-folder a class.
        like: the images whose classes it has, if its own are not to be counted.

    Raises:
        UserError: for a missing folder, one without sub-folders or images, and a sub-folder that is
            no class of ``like``.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one with a sub-folder for each class")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise UserError(f"{folder}: has no sub-folders; expected one for each class")
    if like is not None:
        for name in classes:
            if name not in like.classes:
                raise UserError(
                    f"{folder}: sub-folder '{name}' is none of {like.folder}; expected the same "
                    "classes"
                )
        classes = like.classes
    indices = {name: i for i, name in enumerate(classes)}
    found = make_dataset(folder, indices, IMG_EXTENSIONS, allow_empty=True)
    if not found:
        raise UserError(f"{folder}: no images ({', '.join(IMG_EXTENSIONS)}) in its sub-folders")
    stats = [os.stat(path) for path, _ in found]
    return Listing(
        folder,
        classes,
        [Path(path).relative_to(folder).as_posix() for path, _ in found],
        np.array([index for _, index in found], np.int64),
        np.array([(stat.st_size, stat.st_mtime_ns) for stat in stats], np.int64),
    )


class Crops(Dataset):
    """The images as the network is to see them: short edge resized to 256 bilinearly, the 224x224
    in the centre.

    An item is its index and (224, 224, 3) uint8, RGB.
    """

    def __init__(self, listing: Listing) -> None:
        self.files = [listing.folder / path for path in listing.paths]
        self.transform = Compose([Resize(RESIZE), CenterCrop(CROP)])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        try:
            with Image.open(self.files[index]) as image:
                return index, np.array(self.transform(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(
                f"{self.files[index]}: truncated or not an image ({error}); unpack it again"
            ) from error


def _require_outputs(outputs: int, listing: Listing, source: str) -> None:
    if len(listing.classes) != outputs:
        raise UserError(
            f"{listing.folder}: has {len(listing.classes)} sub-folders, {source} has {outputs} "
            "classes; expected one sub-folder for each class"
        )


# ---- one pass, that can be interrupted ---------------------------------------------------------


def rank_images(
    network: nn.Module,
    listing: Listing,
    looks: Appearances,
    file: Path,
    weights: Mapping[str, str],
    batch: int = 64,
    workers: int = 0,
) -> np.ndarray:
    """The rank of the true class of each image in each appearance, each image read once.

    Args:
        network, looks: as of :func:`ranks_by_look`.
        listing: the images.
        file: keeps the ranks, written every minute and at the end, whatever ends it. What it holds
            of the same weights, images and appearances is not done again.
        weights: by which the network's weights are known.
        batch: images that go through the network at a time.
        workers: processes that read images, at most one a core.

    Returns:
        (A, N) int16.

    Raises:
        UserError: for an unreadable image, too little memory, a file that cannot be written.
    """
    identity = {
        **weights,
        "appearances": list(looks),
        "classes": listing.classes,
    }
    images_of = {"paths": listing.paths, "stamps": listing.stamps}
    ranks = read_ranks(file, identity, listing)
    if ranks is None:
        if file.exists():
            print(f"{file}: of other weights, classes or appearances; starting anew")
        ranks = np.full((len(looks), len(listing.paths)), NOT_YET, np.int16)
    left = np.flatnonzero((ranks == NOT_YET).any(axis=0)).tolist()
    count, done = ranks.shape[1], ranks.shape[1] - len(left)
    if done:
        print(f"{file}: {done} of {count} images are there already")
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
                    write_ranks(file, ranks, identity | images_of)
                    saved = time.monotonic()
        finally:
            write_ranks(file, ranks, identity | images_of)
    return ranks


def write_ranks(file: Path, ranks: np.ndarray, identity: Mapping[str, object]) -> None:
    """Writes (A, N) int16 ranks and what they are of, whole."""
    with written_whole(file) as temporary:
        np.savez_compressed(temporary, ranks=ranks, **identity)


def read_ranks(file: Path, identity: Mapping[str, object], listing: Listing) -> np.ndarray | None:
    """(A, N) int16 ranks of a listing's images, those that are new or changed not yet there; None
    if the file has none, or of something else."""
    try:
        with np.load(file) as stored:
            if not all(np.array_equal(stored[key], value) for key, value in identity.items()):
                return None
            stamps = map(tuple, stored["stamps"].tolist())
            kept = stored["ranks"]
            columns = {key: i for i, key in enumerate(zip(stored["paths"], stamps, strict=True))}
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, BadZipFile, zlib.error):
        return None
    keys = zip(listing.paths, map(tuple, listing.stamps.tolist()), strict=True)
    missing = kept.shape[1]
    kept = np.pad(kept, ((0, 0), (0, 1)), constant_values=NOT_YET)
    return kept[:, [columns.get(key, missing) for key in keys]]


# ---- the table ---------------------------------------------------------------------------------


def sheet(result: Mapping) -> Sheet:
    """A table of errors and drops in percent, beside the paper's.

    Args:
        result: as of :func:`measure`.
    """
    model, errors = result["model"], result["errors"]
    here = {look: (of["top1"], of["top5"]) for look, of in errors.items()}
    told = dict(paper_errors(model))
    if PAPERS_STYLE in told:
        told[STYLED] = told.pop(PAPERS_STYLE)
    count = errors["origin"]["images"]
    notes = ["Drop: how much higher the error is than that of origin."]
    if told:
        notes.append(f"Paper: on ImageNet's 50000 validation images; here on {count} images.")
    else:
        notes.append("The paper has no numbers of this network.")
    if STYLED in errors:
        style = f"; the paper's are in {PAPERS_STYLE}'s style" if STYLED in told else ""
        notes.append(f"Styled: {errors[STYLED]['images']} images of {result['styled']}{style}.")
    published = PUBLISHED.get(model)
    if published and "_ibn_" not in model and told and result["checkpoint"].startswith(SCHEME):
        notes.append(
            "The weights are torchvision's, not the paper's; published with "
            f"{published.top1:.2f} / {published.top5:.2f}."
        )
    head = ("appearance", "top-1 / top-5", "drop", "paper's", "drop")
    columns = len(head) if len(told) > 1 else len(head) - 1 if told else len(head) - 2
    rows = [(look, *_cells(here, look), *_cells(told, look))[:columns] for look in errors]
    return Sheet(
        title=f"{model} ({result['checkpoint']}) on {result['folder']}: errors in percent",
        head=head[:columns],
        left=1,
        parts=(tuple((row,) for row in rows),),
        notes=tuple(notes),
    )


def _cells(errors: Mapping[str, Sequence[float]], look: str) -> tuple[str, str]:
    """Error and drop of an appearance, as they stand in the table."""
    if look not in errors:
        return "", ""
    drop = [x - y for x, y in zip(errors[look], errors["origin"], strict=True)]
    return _pair(errors[look]), "" if look == "origin" else _pair(drop)


def _pair(values: Sequence[float]) -> str:
    return " / ".join(f"{round(value, 2) + 0.0:5.2f}" for value in values)
