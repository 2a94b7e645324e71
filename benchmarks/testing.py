"""A test image from its files to its counts, without the network: decoded, packed and counted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import TRANSFORMS
from torch.utils.data import Dataset

from benchmarks.measure import Row, alternately, compare
from ibnseg.datasets.labels import CITYSCAPES_IDS, CLASSES, IGNORE, INSTANCE_CLASSES, LABELS
from ibnseg.datasets.transforms import ids_to_train_ids
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.engine.shared_loading import SharedSamples
from ibnseg.registry import DATASETS, METRICS
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render

SIZE = (2048, 1024)
IMAGES = 2
BOUND, PEER, ALONE = "decoding image, label and instances", "mmseg", "each test by itself"
PAIR, BARE = "decoding image and label", "without instance maps"
PROTOCOLS = ("native", "paper", "rein")


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        root, bare = Path(name) / "all", Path(name) / "bare"
        predictions = write_photographs(root)
        shutil.copytree(root, bare, ignore=shutil.ignore_patterns("*_instanceIds.png"))
        images, labels, instances = (
            sorted(map(str, root.glob(f"*/val/town/*_{kind}.png")))
            for kind in ("leftImg8bit", "labelIds", "instanceIds")
        )
        tests = tests_of(root, predictions)
        ways = {
            "ibnseg": tests[0],
            BARE: tests_of(bare, predictions)[0],
            BOUND: partial(decode, [*images, *labels, *instances]),
            PAIR: partial(decode, [*images, *labels]),
            PEER: mmseg_test(root, predictions),
            "together": run_together(tests),
            ALONE: lambda: [test() for test in tests],
        }
        times = alternately(ways, seconds=12)
    work = f"test of {IMAGES} images, {SIZE[0]}x{SIZE[1]} PNG, from files to counts"
    note = "ibnseg also reads and counts the instance map, a third file, which iIoU needs"
    return [
        compare(work, times, BOUND, 1.2),
        compare(f"{work}, {BARE}", times, PAIR, 1.2, ours=BARE),
        compare(work, times, PAIR, note=note),
        compare(work, times, PEER, note=note),
        compare(f"{work}, {len(PROTOCOLS)} protocols", times, ALONE, ours="together"),
    ]


def write_photographs(root: Path) -> dict[str, torch.Tensor]:
    """Draws streets in Cityscapes' layout; returns the predictions of a network that shifts them by
    some pixels, by the names of the images."""
    predictions = {}
    with_instances = [label.id for label in LABELS if label.name in INSTANCE_CLASSES]
    for seed in range(IMAGES):
        raster = rasterise(draw_layout(seed), *SIZE)
        instances = raster.labels.astype(np.uint16)
        for id_ in with_instances:
            numbers = cv2.connectedComponents((raster.labels == id_).view(np.uint8))[1]
            instances[numbers > 0] = 1000 * id_ + numbers[numbers > 0]
        train_ids = ids_to_train_ids(raster.labels, CITYSCAPES_IDS)
        files = {
            "leftImg8bit": render(raster, "real", seed)[..., ::-1],
            "gtFine_labelIds": raster.labels,
            "gtFine_labelTrainIds": train_ids,
            "gtFine_instanceIds": instances,
        }
        for kind, pixels in files.items():
            folder = root / kind.partition("_")[0] / "val" / "town"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"town_{seed:06}_000000_{kind}.png"), pixels)
        shifted = np.roll(np.where(train_ids == IGNORE, 0, train_ids), 20, axis=1)
        name = f"town_{seed:06}_000000_leftImg8bit.png"
        predictions[name] = torch.from_numpy(shifted)[None]
    return predictions


def decode(paths: Sequence[str]) -> list[np.ndarray]:
    """Decodes files by OpenCV, and does nothing else."""
    return [cv2.imread(path, cv2.IMREAD_UNCHANGED) for path in paths]


class Test:
    """A test of Cityscapes val whose network is a table of predictions.

    Args:
        dataset, evaluator: as a config makes them.
        predictions: train ids by the names of images, (1, H, W) uint8.
    """

    def __init__(
        self, dataset: Dataset, evaluator: BaseMetric, predictions: Mapping[str, torch.Tensor]
    ) -> None:
        self.dataset, self.evaluator, self.predictions = dataset, evaluator, predictions

    def __call__(self) -> dict:
        for i in range(len(self.dataset)):
            self.count(self.dataset[i])
        return self.evaluator.evaluate(len(self.dataset))

    def count(self, loaded: dict) -> None:
        samples = pseudo_collate([loaded])["data_samples"]
        for sample in samples:
            data = self.predictions[Path(sample.img_path).name]
            sample.pred_sem_seg = PixelData(data=data)
        self.evaluator.process({}, [sample.to_dict() for sample in samples])


def tests_of(root: Path, predictions: Mapping[str, torch.Tensor]) -> list[Test]:
    """Makes the tests under the protocols, as a config makes them."""
    changes = {"test_domains": ["cityscapes"], "protocol": list(PROTOCOLS)}
    cfg = expand(load_config("gta2city_ibn50a", changes), {"cityscapes": str(root)}, training=False)
    return [
        Test(DATASETS.build(loader.dataset), METRICS.build(cfg.test_evaluator[name]), predictions)
        for name, loader in cfg.test_dataloader.items()
    ]


def run_together(tests: Sequence[Test]) -> Callable[[], object]:
    """Returns a callable that loads each image once for all tests."""
    shared = SharedSamples([test.dataset for test in tests])

    def run() -> list[dict]:
        for i in range(len(shared)):
            for test, loaded in zip(tests, shared[i], strict=True):
                test.count(loaded)
        return [test.evaluator.evaluate(len(shared)) for test in tests]

    return run


def mmseg_test(root: Path, predictions: Mapping[str, torch.Tensor]) -> Callable[[], object]:
    """Returns a callable that tests by mmseg's transforms and metric, as its configs list them; its
    network predicts int64, and its labels are train ids in files of their own."""
    steps = Compose(
        [
            TRANSFORMS.build(dict(type=name))
            for name in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")
        ]
    )
    images = sorted(map(str, root.glob("*/val/town/*_leftImg8bit.png")))
    labels = sorted(map(str, root.glob("*/val/town/*_labelTrainIds.png")))
    found = {name: data.long() for name, data in predictions.items()}
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=CLASSES)

    def run() -> dict:
        for image, label in zip(images, labels, strict=True):
            info = dict(img_path=image, seg_map_path=label, label_map=None)
            loaded = steps(dict(info, reduce_zero_label=False, seg_fields=[]))
            (sample,) = pseudo_collate([loaded])["data_samples"]
            sample.pred_sem_seg = PixelData(data=found[Path(image).name])
            metric.process({}, [sample.to_dict()])
        return metric.evaluate(len(images))

    return run
