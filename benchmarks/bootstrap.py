"""Confidence intervals over images: 1000 bootstrap samples of 500 images' confusion matrices."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Row, alternately, compare
from ibnseg.evaluation.confusion import mean_iou
from ibnseg.report.statistics import RESAMPLES, draws, resample

IMAGES = 500
PEER = "one sample at a time"


def measure(threads: int) -> list[Row]:
    rng = np.random.default_rng(0)
    confusion = rng.poisson(2_000_000 / 19**2, (IMAGES, 19, 19)).astype(np.uint32)

    def one_by_one() -> np.ndarray:
        rng = np.random.default_rng(0)
        sums = [confusion[rng.integers(0, IMAGES, IMAGES)].sum(axis=0) for _ in range(RESAMPLES)]
        return mean_iou(np.stack(sums))

    ways = {"ibnseg": lambda: mean_iou(resample(confusion, draws(IMAGES))), PEER: one_by_one}
    return [compare(f"mIoU of {RESAMPLES} bootstrap samples", alternately(ways, 2), PEER)]
