"""Counts a network's confusion matrix in every corruption; each image is read once, and counted as
in testing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import DataLoader, Subset

from ibnseg.analysis.robustness.corruptions import ORIGIN, Corruption, Image
from ibnseg.appearance import generator
from ibnseg.datasets.base import DrivingDataset
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from ibnseg.models.one_pass import separately
from ibnseg.networks.sources import Source
from ibnseg.support.ledger import Ledger
from ibnseg.support.memory import enough_memory_for_image

SAVE_EVERY = 60.0
"""The seconds between two writes of what has been counted."""
AHEAD = 2
"""The number of threads that change images while the network sees those that are changed."""


@dataclass(frozen=True)
class Tally:
    """What has been counted in a corruption."""

    images: int
    """The number of images that have been counted, from the first in the list on."""
    confusion: np.ndarray
    """(K, K) int64, the sum over these images; rows are truth."""


def count_image(
    predict: Callable[[Image], np.ndarray],
    image: np.ndarray,
    label: np.ndarray,
    shown: Sequence[Corruption],
    tallies: dict[str, Tally],
    place: int = 0,
    key: str = "",
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Shows an image in every corruption in which it has not been counted, and counts it.

    Args:
        predict: maps an image to (H', W') uint8 train ids, at the size of the label.
        image: (H, W, 3) uint8, RGB.
        label: (H', W') uint8 train ids; 255 does not count.
        shown: the corruptions.
        tallies: what has been counted, by the corruptions' keys; each is replaced as a whole.
        place: the image's place in the list, from 0.
        key: the image's name, which decides what is random together with the seed.
        seed: the random seed.
        done: called after each prediction.
    """
    wanted = [each for each in shown if tallies[each.key].images <= place]
    with ThreadPoolExecutor(AHEAD) as threads:
        images = threads.map(lambda each: each.change(image, generator(seed, key)), wanted)
        for corruption, changed in zip(wanted, images, strict=True):
            tally = tallies[corruption.key]
            counts = confusion_matrix(label, predict(changed), len(tally.confusion))
            tallies[corruption.key] = Tally(place + 1, tally.confusion + counts)
            done()


@torch.inference_mode()
def predict_float(network: nn.Module, image: Image, meta: Mapping) -> np.ndarray:
    """Predicts an image that may be floats beyond 0 to 255; the network normalises it.

    Args:
        network: from :func:`ibnseg.load`.
        image: (H, W, 3) RGB, uint8 or float32.
        meta: ``img_path``, and ``ori_shape``, the (height, width) of the prediction.

    Returns:
        (height, width) uint8 train ids.
    """
    bgr = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    sample = SegDataSample(metainfo={**meta, "img_shape": image.shape[:2]})
    windows = network.test_cfg.get("mode") == "slide"
    with (
        separately(),
        enough_memory_for_image(meta["img_path"], image.shape[:2], windows=windows),
    ):
        (result,) = network.test_step(dict(inputs=[torch.from_numpy(bgr)], data_samples=[sample]))
    return result.pred_sem_seg.data.squeeze(0).cpu().numpy()


@dataclass
class Work:
    """A network in a domain: what is to be counted, and what has been counted."""

    source: Source
    """The network; its config is expanded."""
    run: dict
    """From :meth:`~ibnseg.networks.sources.Source.describe`."""
    test: dict
    """One of ``cfg.test_cfg.tests``."""
    dataset: DrivingDataset
    ledger: Ledger
    """The file of the counts; its identity is all that they depend on besides the corruption."""
    tallies: dict[str, Tally] = field(default_factory=dict)
    """What has been counted, by the corruptions' keys."""

    def begin(self, shown: Sequence[Corruption]) -> None:
        """Reads what has been counted; other corruptions begin with no image."""
        classes = len(self.evaluator["classes"]) + self.evaluator.get("other", False)
        self.tallies = self.ledger.read_or_restart(_tallies) or {}
        for each in shown:
            self.tallies.setdefault(each.key, Tally(0, np.zeros((classes, classes), np.int64)))

    @property
    def evaluator(self) -> dict:
        """The evaluator's part of the config, which has the classes and those that are averaged."""
        return self.source.cfg.test_evaluator[self.test["name"]]

    def left(self, shown: Sequence[Corruption]) -> int:
        """Returns the number of predictions that remain to be made."""
        return sum(len(self.dataset) - self.tallies[each.key].images for each in shown)

    def save(self) -> None:
        """Writes what has been counted."""
        self.ledger.write(
            appearances={
                key: dict(images=tally.images, confusion=tally.confusion.tolist())
                for key, tally in self.tallies.items()
                if tally.images
            }
        )

    def loader(self, first: int) -> DataLoader:
        """Returns a loader of the images from a place in the list on."""
        return DataLoader(
            Subset(self.dataset, range(first, len(self.dataset))),
            batch_size=1,
            num_workers=min(self.source.cfg.workers, len(self.dataset) - first),
            collate_fn=pseudo_collate,
        )

    def count(
        self,
        network: nn.Module,
        shown: Sequence[Corruption],
        seed: int,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Counts what is left in one pass over the images.

        Counts are saved every minute and at the end, even if the end is an exception. ``done`` is
        called after each prediction.
        """
        first = min(self.tallies[each.key].images for each in shown)
        root, own, saved = Path(self.dataset.data_root), network.test_cfg, time.monotonic()
        network.test_cfg = ConfigDict({**own, **self.test["inference"]})
        try:
            for place, batch in enumerate(self.loader(first), first):
                (inputs,), (sample,) = batch["inputs"], batch["data_samples"]
                image = np.ascontiguousarray(inputs.numpy().transpose(1, 2, 0)[..., ::-1])
                label = sample.gt_sem_seg.data.squeeze(0).numpy()
                path = Path(sample.metainfo["img_path"])
                meta = dict(img_path=str(path), ori_shape=sample.metainfo["ori_shape"])
                predict = partial(predict_float, network, meta=meta)
                key = path.relative_to(root).as_posix()
                count_image(predict, image, label, shown, self.tallies, place, key, seed, done)
                if time.monotonic() - saved > SAVE_EVERY:
                    self.save()
                    saved = time.monotonic()
        finally:
            network.test_cfg = own
            self.save()

    def records(self, shown: Sequence[Corruption]) -> list[dict]:
        """Returns mIoU and drop in each corruption: fractions, or None if undefined."""
        classes = list(self.evaluator["classes"])
        averaged = [classes.index(name) for name in self.evaluator["eval_classes"]]

        def score(corruption: Corruption) -> float | None:
            value = mean_iou(self.tallies[corruption.key].confusion, averaged)
            return None if np.isnan(value) else value

        origin = score(shown[0])
        return [
            dict(
                run=self.run["name"],
                model=self.run["model"],
                title=self.run["title"],
                train_domain=self.run["train_domain"],
                seed=self.run["seed"],
                domain=self.test["domain"],
                appearance=each.name,
                severity=each.severity,
                parameter=each.parameter,
                images=self.tallies[each.key].images,
                mIoU=value,
                drop=None if value is None or each.name == ORIGIN else origin - value,
            )
            for each, value in ((each, score(each)) for each in shown)
        ]


def _tallies(content: Mapping) -> dict[str, Tally]:
    """Reads the tallies in a file of counts, by the corruptions' keys."""
    return {
        key: Tally(int(kept["images"]), np.array(kept["confusion"], np.int64))
        for key, kept in content["appearances"].items()
    }
