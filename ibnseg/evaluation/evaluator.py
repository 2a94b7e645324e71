"""The evaluator that mmengine calls: counts of each image, and their scores at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ibnseg.evaluation.confusion import confusion_matrix, iou
from ibnseg.evaluation.metrics import CONFUSION, Pixels, counting, evaluate
from ibnseg.evaluation.official import weighted_confusion
from ibnseg.evaluation.other import OTHER
from ibnseg.registry import METRICS
from ibnseg.support.errors import UserError


@METRICS.register_module()
class Confusion(BaseMetric):
    """Counts each test image's pixels by true and predicted class, and scores the sums at the end.

    Every process keeps the counts of its own images by their paths, so that an image that a
    sampler gave to two processes counts once.

    With ``other``, a prediction may also be K, which stands for every class that the domain does
    not have. Each such pixel is a miss of its true class. If any is counted, the class ``other``
    comes last, true nowhere and never averaged, and the scores of the Cityscapes benchmark
    (categories, iIoU) and of the drivable area are left out, because they are defined over the
    domain's own classes. If there is none, everything is as without ``other``; but an image in
    which K is predicted under an ignored label has no weighted counts of instances.

    Args:
        classes: names of all K classes.
        eval_classes: names of those that are averaged.
        further: names of metrics that count something else and are wanted too, such as
            ``boundary_iou``. (Not ``metrics``: mmengine takes a dict with that key for another
            evaluator's.)
        other: whether predictions may be K.

    Attributes:
        classes: names of the classes that are counted; after ``evaluate``, ``other`` is the last of
            them if it was predicted.
        per_image: after ``evaluate``, on the main process, image paths to (K, K) int64, in order of
            path.
        counts: after ``evaluate``, on the main process, the same of what each of ``further``
            counts, by its name.
        weighted: after ``evaluate``, on the main process, the sum of the images'
            :func:`~ibnseg.evaluation.official.weighted_confusion`; None unless all of them came
            with their instances.

    Raises:
        UserError: for an unknown metric, and with ``other`` for a class of that name.
    """

    def __init__(
        self,
        classes: Sequence[str],
        eval_classes: Sequence[str],
        further: Sequence[str] = (),
        other: bool = False,
        **kwargs,
    ) -> None:
        # "gpu" gathers through the process group, also with gloo; "cpu" would write files
        super().__init__(collect_device="gpu", **kwargs)
        if other and OTHER in classes:
            raise UserError(
                f"the domain has a class '{OTHER}', the name of all classes that it does not have; "
                "give it another name in the domain's file"
            )
        self.own_classes, self.other = list(classes), other
        self.classes = self.own_classes
        self.eval_classes = list(eval_classes)
        self.further = [each for each in counting(further) if each.applies_to(classes)]
        self.per_image: dict[str, np.ndarray] = {}
        self.counts: dict[str, dict[str, np.ndarray]] = {}
        self.weighted: np.ndarray | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts the pixels of a batch.

        Args:
            data_batch: not used.
            data_samples: each with ``gt_sem_seg`` and ``pred_sem_seg``, (1, H, W) uint8; and, if
                they are known, ``gt_instance_ids``, (1, H, W) int16 with the bits of uint16, and
                ``seg_logits``, (K, H, W).

        Raises:
            ValueError: for labels or predictions that are no classes, with the image's path.
            UserError: for a metric that needs logits which are not there.
        """
        for sample in data_samples:
            path = sample["img_path"]
            label, prediction = (_array(sample[k]) for k in ("gt_sem_seg", "pred_sem_seg"))
            ids, weighted = sample.get("gt_instance_ids"), None
            try:
                counts = {CONFUSION: self._count(label, prediction)}
                is_all_own = not self.other or prediction.max(initial=0) < len(self.own_classes)
                if ids is not None and is_all_own:
                    weighted = weighted_confusion(_array(ids).view(np.uint16), prediction)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            logits = sample["seg_logits"]["data"] if "seg_logits" in sample else None
            pixels = Pixels(label, prediction, len(self.own_classes), logits)
            for metric in self.further:
                if metric.needs_logits and logits is None:
                    raise UserError(
                        f"metric '{metric.name}' needs logits, which the network does not give; "
                        "set model.test_cfg.logits=True, or leave it out of metrics"
                    )
                counts[metric.name] = metric.count(pixels)
            self.results.append((path, counts, weighted))

    def _count(self, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Counts an image's pixels; with ``other`` the last column is that of K."""
        own = len(self.own_classes)
        counts = confusion_matrix(label, prediction, own + self.other)
        if counts[own:].any():
            raise ValueError(f"label has values {own}, which are none of {own} classes")
        return counts

    def compute_metrics(
        self, results: list[tuple[str, dict[str, np.ndarray], np.ndarray | None]]
    ) -> dict[str, float]:
        """Computes every metric of the table, by its name, and the IoU of each class, as
        ``IoU/<class>``: fractions, or in the metric's unit, NaN if undefined."""
        by_path = {path: found for path, *found in sorted(results, key=lambda result: result[0])}
        self.counts = {
            name: {path: counts[name] for path, (counts, _) in by_path.items()}
            for name in (CONFUSION, *(metric.name for metric in self.further))
        }
        weighted = [matrix for _, matrix in by_path.values()]
        self.weighted = None if any(matrix is None for matrix in weighted) else sum(weighted)
        sums = {name: sum(of_images.values()) for name, of_images in self.counts.items()}
        is_other = self.other and sums[CONFUSION][:, -1].any()
        self.classes = [*self.own_classes, OTHER] if is_other else self.own_classes
        kept = (slice(len(self.classes)),) * 2
        sums[CONFUSION] = sums[CONFUSION][kept]
        self.per_image = {path: x[kept] for path, x in self.counts.pop(CONFUSION).items()}
        scores = evaluate(self.classes, self.eval_classes, sums, {})
        of_classes = zip(self.own_classes, iou(sums[CONFUSION]), strict=not is_other)
        return {
            **{name: float("nan") if x is None else x for name, x in scores.items()},
            **{f"IoU/{name}": float(x) for name, x in of_classes},
        }


def _array(pixels: dict) -> np.ndarray:
    return pixels["data"].squeeze(0).cpu().numpy()
