"""How fast the bootstrap is on one core: ``OMP_NUM_THREADS=1 python benchmarks/bootstrap.py``.

Asked for: 1000 resamples of 500 images and 19 classes in seconds.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ibnseg.evaluation.confusion import mean_iou
from ibnseg.report.statistics import RESAMPLES, draws, resample, spread, sum_groups

SIZES = {"Cityscapes val": (500, 3), "GTA5 val": (6382, 242)}
"""Images and groups."""


def main() -> None:
    rng = np.random.default_rng(0)
    for name, (images, groups) in SIZES.items():
        confusion = rng.poisson(2_000_000 / 19**2, (images, 19, 19)).astype(np.uint32)
        of = np.sort(rng.integers(0, groups, images)).astype(str)
        start = perf_counter()
        sums = resample(confusion, draws(images))
        resampled = perf_counter()
        mean_iou(sums)
        scored = perf_counter()
        spread([sum_groups(confusion, of)], mean_iou)
        grouped = perf_counter()
        print(
            f"{name}, {RESAMPLES} resamples of {images} images: {resampled - start:.2f} s, "
            f"their mIoU: {scored - resampled:.2f} s; of {groups} groups, both: "
            f"{grouped - scored:.2f} s"
        )


if __name__ == "__main__":
    main()
