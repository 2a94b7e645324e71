"""Compares an exported file, run by its own runtime, with the network that it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ibnseg.datasets.pictures import read_upright
from ibnseg.models.activations import as_logits
from ibnseg.networks.facts import Facts
from ibnseg.networks.graph import Graph
from ibnseg.networks.metadata import facts_in, read_description
from ibnseg.networks.runtimes import FileNetwork
from ibnseg.networks.sessions import open_session
from ibnseg.registry import TRANSFORMS
from ibnseg.support.data_files import IMAGE_SUFFIXES, list_files_below
from ibnseg.support.errors import UserError

MOST_DIFFERENCE = 1e-3
"""The largest difference of logits that is accepted, as a share of the largest logit."""
MOST_CHANGED = 1e-3
"""The largest share of pixels that may get another class."""

IMAGES = 4
"""How many images are compared."""
LONGEST = 1024
"""The most pixels of their longer side; larger ones are shrunk, so that the check takes seconds."""


@dataclass
class Agreement:
    """How far a file and torch agree."""

    images: int = 0
    pixels: int = 0
    changed: int = 0
    """Pixels that get another class."""
    difference: float = 0.0
    """The largest difference of logits, as a share of the largest logit of the batch; if the file
    gives classes, that of the logits of the two classes at pixels that get another one."""

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.1e} of the largest logit, "
            f"{self.changed} of {self.pixels} pixels of another class"
        )

    def require(self, what: str) -> None:
        """Raises a UserError if the difference is larger than what is accepted."""
        share = self.changed / max(self.pixels, 1)
        if self.difference > MOST_DIFFERENCE or share > MOST_CHANGED:
            raise UserError(
                f"{what}: differs from torch ({self}), expected at most {MOST_DIFFERENCE:g} and "
                f"{MOST_CHANGED:.1%} of the pixels; nothing is written. Try another --to, or a "
                "fixed --size"
            )


def images_below(folder: Path, most: int) -> list[Path]:
    """Lists images below a folder, at most so many, evenly spread over the sorted list.

    Raises:
        UserError: if there are none.
    """
    found = list_files_below(folder, *IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
    return evenly_chosen(found, most)


def evenly_chosen(items: Sequence, most: int) -> list:
    """Returns at most so many items, evenly spread, the first one among them."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def images_shown(files: Iterable[Path], size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Reads images, (H, W, 3) uint8, RGB; of a size, or with a longer side of :data:`LONGEST` at
    most.

    Args:
        files: the images.
        size: (height, width), if all have to have it.
    """
    for file in files:
        yield resized(np.ascontiguousarray(read_upright(file)[0][..., ::-1]), size)


def resized(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resizes an image as :func:`images_shown` says."""
    height, width = image.shape[:2]
    if size is None:
        scale = min(1.0, LONGEST / max(height, width))
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
    if size == (height, width):
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


@torch.inference_mode()
def compare(
    network: nn.Module, graph: Graph, file: Path, images: Iterable[np.ndarray], batch: int | None
) -> Agreement:
    """Compares a file with a network on images, each of which goes through with its mirror image.

    Args:
        network: on the CPU, with windows and all else that its tests have.
        graph: what was exported of it.
        file: the exported file.
        images: (H, W, 3) uint8, RGB.
        batch: the number of images that the file takes at a time; None for any.

    Raises:
        UserError: if the file cannot be opened or run.
    """
    session = open_session(file)
    facts = facts_in(read_description(session.metadata, str(file)))
    exported, found = FileNetwork(file, session, facts), Agreement()
    for image in images:
        pair = [image, np.ascontiguousarray(image[:, ::-1])][: batch or 2]
        logits, classes = _of_network(network, pair)
        scale = float(logits.abs().amax())
        output = exported(prepared(pair, facts))
        if exported.gives == "classes":
            ids = output
        else:
            own = _at_image(output, graph, pair[0].shape[:2])
            ids = own.argmax(dim=1)
            difference = float((own - logits).abs().amax()) / scale
            found.difference = max(found.difference, difference)
        changed = ids != classes
        if exported.gives == "classes" and changed.any():
            gap = logits.gather(1, classes[:, None]) - logits.gather(1, ids[:, None])
            found.difference = max(found.difference, float(gap[:, 0][changed].amax()) / scale)
        found.images += 1
        found.pixels += changed.numel()
        found.changed += int(changed.sum())
    return found


def prepared(images: Sequence[np.ndarray], facts: Facts) -> Tensor:
    """Makes of images what a network takes.

    Args:
        images: (H, W, 3) uint8, RGB, of one size.
        facts: for channels, range, mean, std and stride.

    Returns:
        (N, 3, H, W) float32, padded with 0 on the right and below.
    """
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() * (facts.range / 255)
    if facts.channels == "BGR":
        pixels = pixels.flip(1)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (facts.mean, facts.std))
    pixels = (pixels - mean) / std
    below, right = (-side % (facts.stride or 1) for side in pixels.shape[2:])
    return F.pad(pixels, (0, right, 0, below))


def inputs_of(
    images: Iterable[np.ndarray], facts: Facts, graph: Graph, batch: int | None
) -> Iterator[np.ndarray]:
    """Yields what a file takes for each image, (H, W, 3) uint8, RGB, by itself."""
    dtype = np.uint8 if graph.takes == "rgb" else np.float32
    for image in images:
        yield prepared([image] * (batch or 1), facts).numpy().astype(dtype)


def _of_network(network: nn.Module, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Logits (N, K, H, W) and classes (N, H, W) of images, by the network's own test step."""
    pack = TRANSFORMS.build(dict(type="ibnseg.Pack"))
    size = images[0].shape[:2]
    samples = [
        pack(
            dict(
                img=np.ascontiguousarray(each[..., ::-1]),
                img_path=None,
                ori_shape=size,
                img_shape=size,
            )
        )
        for each in images
    ]
    wanted = network.test_cfg.get("logits", False)
    network.test_cfg.logits = True
    try:
        results = network.test_step(pseudo_collate(samples))
    finally:
        network.test_cfg.logits = wanted
    logits = torch.stack([each.seg_logits.data for each in results])
    return logits, torch.cat([each.pred_sem_seg.data for each in results]).long()


def _at_image(output: Tensor, graph: Graph, size: tuple[int, int]) -> Tensor:
    """A file's logits at the size of the image."""
    if graph.gives != "logits":
        return output
    padded = [-(-side // graph.divisor) * graph.divisor for side in size]
    if tuple(output.shape[2:]) != tuple(padded):
        output = F.interpolate(output, padded, mode="bilinear", align_corners=graph.align_corners)
    return as_logits(graph.network.decode_head, output[..., : size[0], : size[1]])
