"""Training samples from PNG, 2048x1024 to a crop of 713: decoded, scaled, cropped and packed."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmseg.registry import TRANSFORMS

from benchmarks.measure import Row, alternately, compare
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.datasets.sampler import StreamItem
from ibnseg.datasets.store import VARIABLE
from ibnseg.datasets.transforms import ids_to_train_ids, read_image, read_label
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.registry import DATASETS
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render

SIZE = (2048, 1024)
CROP = (713, 713)
IMAGES = 2
PEER, BOUND, CHECKED = "mmseg", "decoding alone", "decoding and verifying checksums"

NOTE = (
    "to the bits of resizing everything, for which OpenCV has to compute all from the upper left "
    "corner to the end of the crop"
)


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_photographs(root)
        ways = {
            "ibnseg": samples_of(cityscapes(root)),
            BOUND: lambda: [decode(pair) for pair in pairs(root)],
            CHECKED: lambda: [
                (read_image(image), read_label(label)) for image, label in pairs(root)
            ],
            PEER: mmseg_samples(root),
        }
        times = alternately(ways, seconds=12)
    work = f"{IMAGES} training samples, {SIZE[0]}x{SIZE[1]} to {CROP[0]}, PNG"
    goals = {BOUND: 1.1, CHECKED: None, PEER: 1.0}
    return [compare(work, times, beside, most, note=NOTE) for beside, most in goals.items()]


def write_photographs(root: Path) -> None:
    """Draws streets in Cityscapes' layout, whose noise is compressed no better than a sensor's."""
    for seed in range(IMAGES):
        raster = rasterise(draw_layout(seed), *SIZE)
        files = {
            "leftImg8bit": render(raster, "real", seed)[..., ::-1],
            "gtFine_labelIds": raster.labels,
            "gtFine_labelTrainIds": ids_to_train_ids(raster.labels, CITYSCAPES_IDS),
        }
        for kind, pixels in files.items():
            folder = root / kind.partition("_")[0] / "train" / "town"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"town_{seed:06}_000000_{kind}.png"), pixels)


def pairs(root: Path, kind: str = "labelIds") -> list[tuple[str, str]]:
    """Lists the images with their labels of one kind."""
    images = sorted(root.glob("leftImg8bit/train/*/*.png"))
    labels = sorted(root.glob(f"gtFine/train/*/*_{kind}.png"))
    return [(str(image), str(label)) for image, label in zip(images, labels, strict=True)]


def decode(pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Decodes an image and its label by OpenCV, and does nothing else."""
    image, label = pair
    return cv2.imread(image), cv2.imread(label, cv2.IMREAD_UNCHANGED)


def cityscapes(root: Path, prepared: Path | None = None) -> DrivingDataset:
    """Builds the training data as a config of the paper does, from its files or prepared."""
    os.environ[VARIABLE] = str(prepared or "")
    cfg = load_config("city2gta_ibn50a", {"test_domains": ["cityscapes"]})
    return DATASETS.build(expand(cfg, {"cityscapes": str(root)}).train_dataloader.dataset)


def samples_of(dataset: DrivingDataset) -> Callable[[], object]:
    """Returns a callable that makes the next sample of each image."""
    positions = itertools.count()

    def samples() -> list[dict]:
        return [dataset[StreamItem(index, next(positions), 0)] for index in range(len(dataset))]

    return samples


def mmseg_samples(root: Path) -> Callable[[], object]:
    """Returns a callable that makes samples by mmseg's transforms, as its configs list them."""
    steps = Compose(
        [
            TRANSFORMS.build(step)
            for step in (
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations"),
                dict(type="RandomResize", scale=SIZE, ratio_range=(0.5, 2.0), keep_ratio=True),
                dict(type="RandomCrop", crop_size=CROP),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackSegInputs"),
            )
        ]
    )
    infos = [
        dict(img_path=image, seg_map_path=label, label_map=None, reduce_zero_label=False)
        for image, label in pairs(root, "labelTrainIds")
    ]
    return lambda: [steps(dict(info, seg_fields=[])) for info in infos]
