"""Stored features: of each training image some crops, as a frozen backbone sees them.

A crop is drawn as training draws it, and its maps are stored in bfloat16 beside its train ids. The
head is then trained without the backbone, which takes most of the time of a step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ibnseg.datasets.store import Contents, Store, map_pixels
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path

FOLDER = "IBNSEG_FEATURES"
"""The environment variable with the folder in which training looks for stored features."""

AGAIN = "give `ibnseg prepare --features CONFIG` again, with the config of the training"
FEATURES = Contents(
    "features.json",
    (".maps.npy", ".labels.npy"),
    "stored features",
    AGAIN,
    "",
    "store those of the training's config in another folder (`ibnseg prepare --features CONFIG "
    f"--out DIR`), and set {FOLDER} to it",
)
"""A store of features: for each image its maps, (draws, numbers) of bfloat16 as uint16, and its
labels, (draws, H, W) uint8 train ids."""

SEED = 0
"""The seed of the stored crops: those of the training stream of this seed."""


def features_folder() -> Path:
    """The folder of stored features that the environment names.

    Raises:
        UserError: if it names none, or there is no such folder.
    """
    given = os.environ.get(FOLDER)
    if not given or not as_path(given).is_dir():
        found = f"{FOLDER} is {given}, and there is no such folder" if given else f"no {FOLDER} set"
        raise UserError(
            f"feature_draws trains from stored features, {found}; make them with `ibnseg prepare "
            f"--features CONFIG --out DIR`, and set {FOLDER}=DIR"
        )
    return as_path(given)


def packed(maps: Sequence[Tensor]) -> np.ndarray:
    """Rounds maps ``(N, C, h, w)`` to bfloat16 and puts them one behind the other.

    Returns:
        (N, numbers) uint16, the bits of bfloat16.
    """
    rounded = [each.detach().to(torch.bfloat16).cpu().flatten(1) for each in maps]
    return torch.cat(rounded, 1).view(torch.uint16).numpy()


def unpacked(numbers: np.ndarray, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Takes maps apart that :func:`packed` has put together.

    Args:
        numbers: (numbers,) uint16, those of one crop.
        shapes: (C, h, w) of each map.

    Returns:
        Maps of these shapes, bfloat16.
    """
    flat = torch.from_numpy(np.array(numbers)).view(torch.bfloat16)
    parts = flat.split([prod(shape) for shape in shapes])
    return [part.view(*shape) for part, shape in zip(parts, shapes, strict=True)]


@TRANSFORMS.register_module()
class LoadFeatures(BaseTransform):
    """Loads the stored maps and train ids of a crop, and packs them for the network.

    In its first pass over the images the training gets the first crop of each, in its second the
    second, and after the last the first again.

    Args:
        folder: the folder of the store.
        root: the folder of the dataset.
        shapes: (C, h, w) of each map.
        draws: the number of crops of an image.
        images: the number of training images, of all domains.
    """

    def __init__(
        self,
        folder: str,
        root: str,
        shapes: Sequence[Sequence[int]],
        draws: int,
        images: int,
    ) -> None:
        self.store = Store(Path(folder), Path(root), {}, FEATURES)
        self.shapes, self.draws, self.images = shapes, draws, images

    def transform(self, results: dict) -> dict:
        draw = results.get("position", 0) // self.images % self.draws
        of_maps, of_labels = self.store.files(results)
        maps = unpacked(map_pixels(of_maps, 2, np.uint16, AGAIN)[draw], self.shapes)
        label = np.array(map_pixels(of_labels, 3, again=AGAIN)[draw])[None]
        size = dict(img_shape=label.shape[1:], ori_shape=label.shape[1:])
        sample = SegDataSample(metainfo=dict(img_path=results["img_path"], **size))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label))
        named = {f"map_{i:04d}": each for i, each in enumerate(maps)}
        return dict(inputs=BaseDataElement(**named), data_samples=sample)
