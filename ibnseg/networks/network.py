"""Loads a trained network and predicts images: ``from ibnseg import load, predict``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import nn

from ibnseg.datasets.pictures import read_upright
from ibnseg.engine.precision import autocast
from ibnseg.engine.testing import pack_steps
from ibnseg.models.augmented import Augmented
from ibnseg.networks.images import as_rgb
from ibnseg.networks.sources import find_source
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path
from ibnseg.support.memory import enough_memory, enough_memory_for_image

SINGLE = (np.ndarray, torch.Tensor, Image.Image, bytes, Mapping)
"""Types that can be iterated, and are still no iterables of images."""

ImageLike = "str | Path | np.ndarray | torch.Tensor | Image.Image"
Result = "np.ndarray | tuple[np.ndarray, np.ndarray]"


def load(
    source: str | Path, checkpoint: str | Path | None = None, *, options: Sequence[str] = ()
) -> nn.Module:
    """Loads a trained network, in eval mode and on the GPU if there is one.

    Its ``class_set`` has the names and colours of its classes, in order of train id.

    Args:
        source: a run's folder, whose tested checkpoint is loaded; a config, by its path or name; or
            a network that was not trained here
            (:func:`~ibnseg.networks.sources.find_source`).
        checkpoint: the weights for a config; for a run, another checkpoint than the tested one.
        options: changes to the config, ``key=value``.

    Raises:
        UserError: for a folder that is not a run, a config without a checkpoint, and a checkpoint
            that cannot be read or belongs to another network.
    """
    return find_source(source, checkpoint, options).load()


def predict(
    network: nn.Module, image: ImageLike | Iterable[ImageLike], probabilities: bool = False
) -> Result | list[Result] | Iterator[Result]:
    """Predicts the class of each pixel of an image, or of several.

    Args:
        network: from :func:`load`.
        image: the path of an image, which is turned upright if its EXIF data give an orientation,
            and so are its classes; a PIL image, whose pixels stay where they are; an array,
            (H, W, 3) uint8 in RGB, or (H, W, 4) with alpha, or (H, W) of grey; or a tensor,
            (3, H, W) in RGB, of uint8 or of floats in [0, 1]. Or several of these, of any sizes.
        probabilities: whether to return the classes' probabilities, too.

    Returns:
        (H, W) uint8 train ids, which are never 255; with ``probabilities`` also (K, H, W)
        float32, each pixel's softmax in [0, 1], largest for the pixel's train id. A list of such
        results for a list or tuple; for another iterable an iterator, which predicts an image when
        it is asked for the next result.

    Raises:
        UserError: for an image of another type, dtype or shape, one that cannot be read, and too
            little memory.
    """
    if isinstance(image, (str, Path)):
        path = as_path(image)
        return predict_image(network, read_upright(path)[0], path, probabilities)
    if isinstance(image, (list, tuple)):
        return list(_predict_each(network, image, probabilities))
    if isinstance(image, Iterable) and not isinstance(image, SINGLE):
        return _predict_each(network, image, probabilities)
    return predict_image(network, as_rgb(image)[..., ::-1], None, probabilities)


def _predict_each(
    network: nn.Module, images: Iterable[ImageLike], probabilities: bool
) -> Iterator[Result]:
    for i, image in enumerate(images):
        if not isinstance(image, (str, Path)):
            image = as_rgb(image, f"image {i}")
        yield predict(network, image, probabilities)


def predict_image(
    network: nn.Module,
    image: np.ndarray,
    name: str | Path | None = None,
    probabilities: bool = False,
    scales: Sequence[float] = (),
    precision: str = "float32",
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Predicts one image, in BGR as ``read_image`` returns it.

    The other arguments are those of :func:`predict_images`, the result is that of :func:`predict`.
    """
    return predict_images(network, [image], name, probabilities, scales, precision)[0]


@torch.inference_mode()
def predict_images(
    network: nn.Module,
    images: Sequence[np.ndarray],
    name: str | Path | None = None,
    probabilities: bool = False,
    scales: Sequence[float] = (),
    precision: str = "float32",
) -> list[np.ndarray] | list[tuple[np.ndarray, np.ndarray]]:
    """Predicts images of one size in one pass.

    Args:
        network: from :func:`load_network`.
        images: (H, W, 3) uint8 each, BGR.
        name: what errors call the first image.
        probabilities: whether to return the classes' probabilities, too; only without scales.
        scales: scales of test-time augmentation, at each of which the image is shown as it is and
            flipped.
        precision: ``float32``, or ``bfloat16`` for autocast.

    Returns:
        What :func:`predict` returns, for each image.

    Raises:
        UserError: for too little memory, and images that are too small for the network.
    """
    size = images[0].shape[:2]
    samples = [dict(img=each, img_path=name, ori_shape=size, img_shape=size) for each in images]
    for step in pack_steps(scales):
        samples = list(map(TRANSFORMS.build(step), samples))
    wanted = network.test_cfg.get("logits", False)
    shown = Augmented(network) if scales else network
    with _enough_memory(network, name, size, len(images)), autocast(precision):
        network.test_cfg.logits = probabilities
        try:
            results = shown.test_step(pseudo_collate(samples))
        except ValueError as error:
            if "spatial element" not in str(error):
                raise
            raise UserError(  # instance normalisation has nothing to compare
                f"{name or 'image'}: {size[1]}x{size[0]} pixels are too few for this network, "
                "which leaves one of them; give a larger image"
            ) from error
        finally:
            network.test_cfg.logits = wanted
        train_ids = [each.pred_sem_seg.data.squeeze(0).cpu().numpy() for each in results]
        if not probabilities:
            return train_ids
        logits = [each.seg_logits.data for each in results]
        return [(ids, _softmax(own, ids)) for ids, own in zip(train_ids, logits, strict=True)]


def _enough_memory(
    network: nn.Module, name: str | Path | None, size: tuple[int, int], images: int
) -> AbstractContextManager[None]:
    if images == 1:
        windows = network.test_cfg.get("mode") == "slide"
        return enough_memory_for_image(name, size, windows=windows)
    return enough_memory(f"{images} images of {size[1]}x{size[0]} at a time", "lower --batch")


def _softmax(logits: torch.Tensor, train_ids: np.ndarray) -> np.ndarray:
    """The softmax of (K, H, W) logits over their first axis, float32; the largest is at
    ``train_ids`` even if rounding makes two equal."""
    shares = logits.softmax(dim=0).cpu().numpy()
    rows, columns = np.nonzero(shares.argmax(axis=0) != train_ids)
    largest = shares[:, rows, columns].max(axis=0)
    shares[train_ids[rows, columns], rows, columns] = np.nextafter(largest, np.float32(2))
    return shares
