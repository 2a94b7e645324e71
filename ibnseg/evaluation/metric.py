"""The metric as mmengine calls it: one confusion matrix an image, whoever computed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ibnseg.evaluation.confusion import confusion_matrix, iou, mean_iou, pixel_accuracy
from ibnseg.evaluation.official import weighted_confusion
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
        weighted: after ``evaluate``, on the main process, the sum of the images'
            :func:`~ibnseg.evaluation.official.weighted_confusion`; None unless all of them came
            with their instances.
    """

    def __init__(self, classes: Sequence[str], eval_classes: Sequence[str], **kwargs) -> None:
        # "gpu" gathers through the process group, gloo included; "cpu" would leave files in the
        # folder
        super().__init__(collect_device="gpu", **kwargs)
        self.classes = list(classes)
        self.eval_classes = list(eval_classes)
        self.per_image: dict[str, np.ndarray] = {}
        self.weighted: np.ndarray | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts a batch: samples with ``gt_sem_seg`` and ``pred_sem_seg``, each (1, H, W) uint8,
        and perhaps ``gt_instance_ids``, (1, H, W) int32."""
        for sample in data_samples:
            label, prediction = (_array(sample[k]) for k in ("gt_sem_seg", "pred_sem_seg"))
            ids, weighted = sample.get("gt_instance_ids"), None
            try:
                counts = confusion_matrix(label, prediction, len(self.classes))
                if ids is not None:
                    weighted = weighted_confusion(_array(ids).astype(np.uint16), prediction)
            except ValueError as error:
                raise ValueError(f"{sample['img_path']}: {error}") from error
            self.results.append((sample["img_path"], counts, weighted))

    def compute_metrics(
        self, results: list[tuple[str, np.ndarray, np.ndarray | None]]
    ) -> dict[str, float]:
        """``mIoU``, ``pixel_accuracy`` and ``IoU/<class>``, fractions, NaN where undefined."""
        by_path = {path: matrices for path, *matrices in sorted(results, key=lambda r: r[0])}
        self.per_image = {path: counts for path, (counts, _) in by_path.items()}
        weighted = [matrix for _, matrix in by_path.values()]
        self.weighted = None if any(matrix is None for matrix in weighted) else sum(weighted)
        confusion = sum(self.per_image.values())
        averaged = [self.classes.index(name) for name in self.eval_classes]
        return {
            "mIoU": mean_iou(confusion, averaged),
            "pixel_accuracy": pixel_accuracy(confusion),
            **{f"IoU/{n}": float(x) for n, x in zip(self.classes, iou(confusion), strict=True)},
        }


def _array(pixels: dict) -> np.ndarray:
    return pixels["data"].squeeze(0).cpu().numpy()
