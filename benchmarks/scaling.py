"""How cost grows with pixels, classes and images: each work beside the same work on less."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose

from benchmarks.measure import Row, alternately, compare
from benchmarks.predictions import CLASSES, HEIGHT, WIDTH, street
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from ibnseg.models.create import create
from ibnseg.models.largest import upsampled_argmax
from ibnseg.registry import TRANSFORMS
from ibnseg.report.statistics import draws, resample
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render

MORE_CLASSES = 65
"""As many as Mapillary Vistas has."""
NOISE = 1.15
"""How far a ratio may lie above what is in proportion and still count as that."""

Work = tuple[str, Callable[[], object]]
"""What is done, and a callable that does it."""


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            _grows(name, more, less, factor)
            for name, factor, more, less in (
                *predictions(),
                *counts(),
                *networks(),
                *samples(Path(folder)),
                *intervals(),
            )
        ]


def _grows(name: str, more: Work, less: Work, factor: float) -> Row:
    """Compares work with less of the same; the goal is that it grows in proportion at most."""
    times = alternately({more[0]: more[1], less[0]: less[1]}, seconds=1, warm_up=1)
    return compare(f"{name}, {more[0]}", times, less[0], NOISE * factor, ours=more[0])


Growth = tuple[str, float, Work, Work]
"""The name of some work, how much more of it there is, and the work with more and with less."""


def predictions() -> list[Growth]:
    """Train ids from logits: of four times the pixels, and of more classes, which occur less."""
    logits = street()
    larger = F.interpolate(logits, scale_factor=2, mode="nearest")
    others = torch.full((1, MORE_CLASSES - CLASSES, *logits.shape[2:]), -1.0)
    usual = partial(upsampled_argmax, logits, (HEIGHT, WIDTH))
    more_pixels = partial(upsampled_argmax, larger, (2 * HEIGHT, 2 * WIDTH))
    more_classes = partial(upsampled_argmax, torch.cat([logits, others], 1), (HEIGHT, WIDTH))
    return [
        (
            "predictions",
            4,
            (f"{2 * HEIGHT}x{2 * WIDTH}", more_pixels),
            (f"{HEIGHT}x{WIDTH}", usual),
        ),
        (
            "predictions",
            MORE_CLASSES / CLASSES,
            (f"{MORE_CLASSES} classes", more_classes),
            (f"{CLASSES} classes", usual),
        ),
    ]


def counts() -> list[Growth]:
    """Confusion matrices: of four times the pixels, and of more classes."""
    label = upsampled_argmax(street(), (HEIGHT, WIDTH))[0].numpy()
    prediction = np.roll(label, 5, axis=1)
    larger = [np.tile(each, (2, 2)) for each in (label, prediction)]
    usual = partial(confusion_matrix, label, prediction, CLASSES)
    more_pixels = partial(confusion_matrix, *larger, CLASSES)
    more_classes = partial(confusion_matrix, label, prediction, MORE_CLASSES)
    return [
        ("counting", 4, (f"{2 * HEIGHT}x{2 * WIDTH}", more_pixels), (f"{HEIGHT}x{WIDTH}", usual)),
        ("counting", 1, (f"{MORE_CLASSES} classes", more_classes), (f"{CLASSES} classes", usual)),
    ]


def networks() -> list[Growth]:
    """The network alone, of four times the pixels."""
    network = create("fcn", "resnet18_ibn_a").eval()
    small, large = torch.rand(1, 3, 128, 256), torch.rand(1, 3, 256, 512)
    run = torch.inference_mode()(network)
    return [
        (
            "IBN-Net18-a, output stride 8",
            4,
            ("256x512", partial(run, large)),
            ("128x256", partial(run, small)),
        )
    ]


def samples(folder: Path) -> list[Growth]:
    """Training samples of one crop: of four times the stored pixels, which are all decoded."""
    steps = Compose(
        [
            TRANSFORMS.build(dict(type=f"ibnseg.{name}", **arguments))
            for name, arguments in (
                ("LoadImage", {}),
                ("LoadLabel", {}),
                ("ScaleCrop", dict(crop_size=(256, 256), scale=(0.5, 2.0), aspect=(0.8, 1.25))),
                ("Pack", {}),
            )
        ]
    )
    works = []
    for width, height in ((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2)):
        raster = rasterise(draw_layout(0), width, height)
        image, label = (str(folder / f"{kind}{width}.png") for kind in ("image", "label"))
        cv2.imwrite(image, render(raster, "real", 0)[..., ::-1])
        cv2.imwrite(label, raster.labels)
        info = dict(
            img_path=image,
            seg_map_path=label,
            label_ids=CITYSCAPES_IDS,
            label_colors={},
            label_channel=None,
        )
        works.append((f"{height}x{width}", lambda info=info: steps({**info, "seg_fields": []})))
    return [("a training sample, crop 256 of a PNG", 4, *works)]


def intervals() -> list[Growth]:
    """Bootstrap samples over images: of twice the images."""
    rng = np.random.default_rng(0)
    works = []
    for images in (1000, 500):
        confusion = rng.poisson(5000, (images, CLASSES, CLASSES))
        works.append((f"{images} images", partial(_bootstrap, confusion)))
    return [("mIoU of 1000 bootstrap samples", 2, *works)]


def _bootstrap(confusion: np.ndarray) -> np.ndarray:
    return mean_iou(resample(confusion, draws(len(confusion))))
