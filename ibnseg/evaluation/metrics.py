"""The one table of metrics; ``python -m ibnseg.evaluation.metrics`` prints it.

A row of ``METRICS`` is a metric everywhere: in results.json, in the tables of a run, in the matrix,
in CSV and in ``--metric``. The name of a class is a metric too: its IoU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ibnseg.datasets.labels import CITYSCAPES, DRIVABLE
from ibnseg.evaluation import drivable, official
from ibnseg.evaluation.boundary import boundary_counts, mean_boundary_iou
from ibnseg.evaluation.calibration import (
    calibration_counts,
    confidence,
    expected_calibration_error,
)
from ibnseg.evaluation.confusion import (
    frequency_weighted_iou,
    iou,
    iou_of_margins,
    mean_class_accuracy,
    mean_f_score,
    mean_iou,
    mean_of_defined,
    pixel_accuracy,
)
from ibnseg.support.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

CONFUSION = "confusion"
"""The name of the confusion matrix among counts."""
PERCENT = "percent"
"""The unit of fractions, which are shown in percent."""


class Pixels(NamedTuple):
    """What a metric may count in an image."""

    label: np.ndarray
    """``(H, W)`` uint8 train ids; 255 is ignored."""
    prediction: np.ndarray
    """``(H, W)`` uint8 train ids; one of ``num_classes`` is a class that the domain lacks."""
    num_classes: int
    logits: Tensor | None
    """``(K, H, W)`` floating point, on the network's device; None unless a metric needs them."""


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are, read off counts of pixels."""

    name: str
    """Its key in results, and what ``--metric`` takes."""

    title: str
    """What tables call it."""

    score: Callable[[np.ndarray, Sequence[int]], np.ndarray] | None
    """Computes the value from counts and the indices of the classes that are averaged, for stacks
    of counts too: ``(..., K, K)`` confusion matrices, rows truth, to ``(...)`` float64; NaN if
    undefined. None: the value is known from testing alone."""

    source: str
    """Where the formula is published."""

    unit: str = PERCENT
    """``'percent'`` for fractions in [0, 1], which are shown in percent; anything else is shown as
    it is."""

    higher_is_better: bool = True

    over_classes: bool = False
    """Whether the value depends on which classes are averaged."""

    classes: tuple[str, ...] | None = None
    """The only classes that it is defined for; None for any."""

    count: Callable[[Pixels], np.ndarray] | None = None
    """What is counted in each image, an array of one shape, sums of which ``score`` takes instead
    of confusion matrices. Such a metric is measured only if the config's ``metrics`` names it."""

    needs_logits: bool = False
    """Whether ``count`` reads the logits."""

    of_margins: Callable[[np.ndarray, Sequence[int]], np.ndarray] | None = None
    """The same as ``score``, from the ``margins`` of confusion matrices, ``(..., 3, K)``: where a
    score depends on no more than these, resampling images is six times as fast with them."""

    @property
    def counts(self) -> str:
        """The name of the counts that it is read off."""
        return CONFUSION if self.count is None else self.name

    def applies_to(self, classes: Sequence[str]) -> bool:
        """Whether it is defined for predictions of these classes."""
        return self.classes is None or tuple(classes) == self.classes


# --- the table ---


def _category_miou(confusion: np.ndarray, averaged: Sequence[int]) -> np.ndarray:
    if len(averaged) < len(CITYSCAPES.classes):
        return np.full(confusion.shape[:-2], np.nan)
    return mean_iou(official.by_category(confusion))


_LONG = "Long, Shelhamer, Darrell, CVPR 2015, section 5"
_OFFICIAL = "cityscapesScripts 2.3, evalPixelLevelSemanticLabeling.py"
_ROWS = (
    Metric(
        "mIoU",
        "mIoU",
        mean_iou,
        _OFFICIAL,
        over_classes=True,
        of_margins=lambda margins, averaged: mean_of_defined(iou_of_margins(margins), averaged),
    ),
    Metric("pixel_accuracy", "pixel accuracy", lambda counts, _: pixel_accuracy(counts), _LONG),
    Metric(
        "mean_class_accuracy", "mean class accuracy", mean_class_accuracy, _LONG, over_classes=True
    ),
    Metric(
        "frequency_weighted_iou",
        "frequency-weighted IoU",
        frequency_weighted_iou,
        _LONG,
        over_classes=True,
    ),
    Metric(
        "f_score",
        "F-score",
        mean_f_score,
        "van Rijsbergen, Information Retrieval, 1979, chapter 7; mmseg's mDice",
        over_classes=True,
    ),
    Metric("category_mIoU", "category IoU", _category_miou, _OFFICIAL, classes=CITYSCAPES.classes),
    Metric("mean_iIoU", "iIoU", None, _OFFICIAL, classes=CITYSCAPES.classes),
    Metric("category_mean_iIoU", "category iIoU", None, _OFFICIAL, classes=CITYSCAPES.classes),
    *(
        Metric(
            way.metric,
            f"drivable area, {way.title}",
            lambda counts, _, way=way: drivable.score(way, counts),
            way.source,
            classes=DRIVABLE.classes,
        )
        for way in drivable.WAYS
    ),
    Metric(
        "boundary_iou",
        "boundary IoU",
        mean_boundary_iou,
        "Cheng et al., CVPR 2021, with bands of 2 % of the diagonal",
        over_classes=True,
        count=lambda pixels: boundary_counts(*pixels[:3]),
    ),
    Metric(
        "calibration",
        "calibration error",
        lambda counts, _: expected_calibration_error(counts),
        "Guo et al., ICML 2017, equation 3, with 15 bins",
        higher_is_better=False,
        count=lambda pixels: calibration_counts(
            pixels.label, pixels.prediction, confidence(pixels.logits)
        ),
        needs_logits=True,
    ),
)
METRICS = {metric.name: metric for metric in _ROWS}
"""All metrics by their names, in the order of tables; :func:`register` adds a user's own."""


def register(metric: Metric) -> Metric:
    """Adds a metric to ``METRICS`` and returns it.

    A module of the user's own calls it: a config imports the module for testing
    (``custom_imports``), ``--import`` for comparing.

    Raises:
        UserError: if the name is taken, by a metric or by a class.
    """
    if metric.name in {*METRICS, *CITYSCAPES.classes, *DRIVABLE.classes}:
        raise UserError(f"metric '{metric.name}': the name is taken; give it another")
    METRICS[metric.name] = metric
    return metric


# --- looked up ---


def get_metric(name: str, classes: Sequence[str]) -> Metric | None:
    """Finds a metric by its name, or makes one of the IoU of a class by that of the class.

    Args:
        name: a metric's, or a class's.
        classes: names of those that are predicted.

    Returns:
        The metric; None if it is not known, or not defined for these classes.
    """
    if name in METRICS:
        return METRICS[name] if METRICS[name].applies_to(classes) else None
    if name not in classes:
        return None
    index = list(classes).index(name)
    return Metric(
        name,
        f"IoU of {name}",
        lambda confusion, averaged: _one(iou(confusion), index, averaged),
        _OFFICIAL,
        over_classes=True,
        of_margins=lambda margins, averaged: _one(iou_of_margins(margins), index, averaged),
    )


def _one(ious: np.ndarray, index: int, averaged: Sequence[int]) -> np.ndarray:
    """The IoU of one class; NaN if it is not averaged."""
    values = ious[..., index]
    return values if index in averaged else np.full_like(values, np.nan)


def counting(names: Iterable[str]) -> list[Metric]:
    """Selects the metrics that count something of their own in each image.

    Args:
        names: names of metrics; others than those that count are left out.

    Raises:
        UserError: for an unknown name, with the nearest ones.
    """
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric in metrics", name, METRICS)
    return [metric for metric in METRICS.values() if metric.name in names and metric.count]


def needs_logits(names: Iterable[str]) -> bool:
    """Whether any of the named metrics reads the network's logits."""
    return any(metric.needs_logits for metric in counting(names))


# --- computed ---


def evaluate(
    classes: Sequence[str],
    eval_classes: Sequence[str],
    counts: Mapping[str, np.ndarray],
    known: Mapping[str, float | None],
) -> dict[str, float | None]:
    """Computes every metric that the counts of a test allow.

    Args:
        classes: names of all K classes.
        eval_classes: names of those that are averaged.
        counts: sums over images by the name of the counts, among them ``confusion``, ``(K, K)``.
        known: values by name, of which those of metrics without a ``score`` are taken.

    Returns:
        Fractions, or values in the metric's unit, by name; None if undefined.
    """
    averaged = [list(classes).index(name) for name in eval_classes]
    values: dict[str, float | None] = {}
    for name, metric in METRICS.items():
        if not metric.applies_to(classes):
            continue
        if metric.score is not None and metric.counts in counts:
            values[name] = none_for_nan(metric.score(counts[metric.counts], averaged))
        elif metric.score is None and name in known:
            values[name] = known[name]
    return values


def value_of(record: Mapping, name: str, averaged: Sequence[str] | None = None) -> float | None:
    """Reads the value of a metric, or the IoU of a class, from a record of results.

    Args:
        record: one of the ``tests`` of results.
        name: the metric's, or the class's.
        averaged: names of the only classes to average; by default those that the record averages.

    Returns:
        A fraction, or in the metric's unit; None if it is undefined, was not measured, or cannot be
        computed over these classes.
    """
    metric = get_metric(name, record["classes"])
    if name in record["classes"] and name not in METRICS:
        return record["iou"].get(name) if name in (averaged or record["eval_classes"]) else None
    recorded = record["metrics"].get(name)
    if averaged is None or list(averaged) == list(record["eval_classes"]):
        return recorded
    if metric is None or metric.score is None:
        return None
    if not metric.over_classes:
        return recorded
    classes = record["classes"]
    picked = [classes.index(each) for each in averaged if each in classes]
    sums = record if metric.counts == CONFUSION else record["counts"]
    if not picked or metric.counts not in sums:
        return None
    return none_for_nan(metric.score(np.asarray(sums[metric.counts]), picked))


def none_for_nan(value: float | np.ndarray) -> float | None:
    """Makes a float for JSON, None instead of NaN."""
    return None if math.isnan(value) else float(value)


def metrics_table() -> str:
    """Returns the table of metrics in Markdown."""
    rows = [("name", "title", "measured", "source"), ("---",) * 4]
    for metric in METRICS.values():
        when = "on request" if metric.count else "always"
        if metric.classes is not None:
            names = {CITYSCAPES.classes: "the 19 classes", DRIVABLE.classes: "the drivable area"}
            when = f"for {names.get(metric.classes, ', '.join(metric.classes))}"
        rows.append((f"`{metric.name}`", metric.title, when, metric.source))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(metrics_table(), end="")
