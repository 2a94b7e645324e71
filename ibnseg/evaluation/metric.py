"""The metric as mmengine calls it: one confusion matrix an image, whoever computed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ibnseg.evaluation.confusion import confusion_matrix, iou, mean_iou, pixel_accuracy
from ibnseg.registry import METRICS


@METRICS.register_module()
class Confusion(BaseMetric):
    """Counts each test image's pixels by true and predicted class; sums and scores them at the end.

    Every process keeps the matrices of its own images by their paths, so that an image which a
    sampler gave to two processes counts once.

    Args:
        classes: names of all K classes.
        eval_classes: names of those whose IoU is averaged.

    Attributes:
        per_image: after ``evaluate``, on the main process, image paths to (K, K) int64, in order of
            path.
    """

    def __init__(self, classes: Sequence[str], eval_classes: Sequence[str], **kwargs) -> None:
        # "gpu" gathers through the process group, gloo included; "cpu" would leave files in the
        # folder
        super().__init__(collect_device="gpu", **kwargs)
        self.classes = list(classes)
        self.eval_classes = list(eval_classes)
        self.per_image: dict[str, np.ndarray] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts a batch: samples with ``gt_sem_seg`` and ``pred_sem_seg``, each (1, H, W)
        uint8."""
        for sample in data_samples:
            label, prediction = (
                sample[key]["data"].squeeze(0).cpu().numpy()
                for key in ("gt_sem_seg", "pred_sem_seg")
            )
            try:
                counts = confusion_matrix(label, prediction, len(self.classes))
            except ValueError as error:
                raise ValueError(f"{sample['img_path']}: {error}") from error
            self.results.append((sample["img_path"], counts))

    def compute_metrics(self, results: list[tuple[str, np.ndarray]]) -> dict[str, float]:
        """``mIoU``, ``pixel_accuracy`` and ``IoU/<class>``, fractions, NaN where undefined."""
        self.per_image = dict(sorted(results, key=lambda result: result[0]))
        confusion = sum(self.per_image.values())
        averaged = [self.classes.index(name) for name in self.eval_classes]
        return {
            "mIoU": mean_iou(confusion, averaged),
            "pixel_accuracy": pixel_accuracy(confusion),
            **{f"IoU/{n}": float(x) for n, x in zip(self.classes, iou(confusion), strict=True)},
        }
