"""The table of metrics: by hand, against a float64 loop, and one's own rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ibnseg.datasets.labels import CATEGORIES, CLASSES, DRIVABLE
from ibnseg.evaluation import metrics
from ibnseg.evaluation.confusion import margins
from ibnseg.evaluation.drivable import WAYS, score
from ibnseg.evaluation.metrics import METRICS, Metric, evaluate, get_metric, register, value_of
from ibnseg.support.errors import UserError

quick = settings(deadline=None, max_examples=50)
OF_CLASSES = ("mIoU", "mean_class_accuracy", "frequency_weighted_iou", "f_score")
confusions = arrays(
    np.int64, (4, 4), elements=st.one_of(st.just(0), st.integers(0, 1000)), fill=st.just(0)
)


@quick
@given(confusions, st.sets(st.integers(0, 3), min_size=1))
def test_scores_of_margins_are_those_of_the_matrices_bit_for_bit(matrix, averaged) -> None:
    classes, stack = [*"abcd"], np.stack([matrix, matrix.T, 0 * matrix]).astype(np.uint32)
    for name in ("mIoU", "a", "d"):
        metric = get_metric(name, classes)
        expected = metric.score(stack, sorted(averaged))
        found = metric.of_margins(margins(stack), sorted(averaged))
        np.testing.assert_array_equal(found, expected)


def by_loop(matrix: list[list[int]], averaged: list[int]) -> dict[str, float]:
    """The metrics of classes, from sums over rows and columns in Python."""
    own: dict[str, list[float]] = {name: [] for name in OF_CLASSES}
    weights = []
    for k in averaged:
        hit, true = matrix[k][k], sum(matrix[k])
        predicted = sum(row[k] for row in matrix)
        if true + predicted - hit:
            own["mIoU"].append(hit / (true + predicted - hit))
            own["f_score"].append(2 * hit / (true + predicted))
        if true:
            own["mean_class_accuracy"].append(hit / true)
            own["frequency_weighted_iou"].append(true * hit / (true + predicted - hit))
            weights.append(true)
    means = {name: sum(x) / len(x) if x else math.nan for name, x in own.items()}
    if weights:
        means["frequency_weighted_iou"] = sum(own["frequency_weighted_iou"]) / sum(weights)
    return means


def test_metrics_of_four_classes_worked_by_hand():
    """Of class 0, 6 of 10 pixels are right; of class 1, 3 of 4; class 2 is predicted once and never
    true; class 3 is neither. Predicted: 7, 6 and 1 times."""
    confusion = np.array([[6, 3, 1, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    expected = {
        "mIoU": (6 / 11 + 3 / 7 + 0) / 3,
        "pixel_accuracy": 9 / 14,
        "mean_class_accuracy": (6 / 10 + 3 / 4) / 2,
        "frequency_weighted_iou": (10 * 6 / 11 + 4 * 3 / 7) / 14,
        "f_score": (12 / 17 + 6 / 10 + 0) / 3,
    }
    names = ("a", "b", "c", "d")
    assert evaluate(names, names, {"confusion": confusion}, {}) == pytest.approx(expected)
    some = evaluate(names, ("b", "d"), {"confusion": confusion}, {})
    assert some == pytest.approx(
        dict(
            mIoU=3 / 7,
            pixel_accuracy=9 / 14,
            mean_class_accuracy=3 / 4,
            frequency_weighted_iou=3 / 7,
            f_score=6 / 10,
        )
    )


@quick
@given(confusions, st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_metrics_of_classes_equal_a_loop(confusion, averaged):
    expected = by_loop(confusion.tolist(), averaged)
    for name in OF_CLASSES:
        found = METRICS[name].score(confusion, averaged)
        assert found == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


def counts_of(metric: Metric, rng: np.random.Generator, classes: int) -> np.ndarray:
    """Some counts (2, 5, ...) that a metric is read off."""
    if metric.count is None:
        return rng.integers(0, 99, (2, 5, classes, classes))
    if metric.name == "boundary_iou":
        both = rng.integers(0, 9, (2, 5, classes, 1))
        return np.concatenate([both, both + rng.integers(0, 9, (2, 5, classes, 2))], axis=-1)
    sums = np.sort(rng.uniform(0, 9, (2, 5, 15, 3)))
    return sums[..., ::-1]


def test_stacks_are_scored_one_by_one_and_fractions_are_in_0_1(recwarn):
    rng = np.random.default_rng(0)
    for metric in (m for m in METRICS.values() if m.score):
        number = len(metric.classes or "abcd")
        stack, averaged = counts_of(metric, rng, number), list(range(number))
        found = metric.score(stack, averaged)
        assert (found.shape, found.dtype) == ((2, 5), np.float64), metric.name
        for place in np.ndindex(2, 5):
            alone = metric.score(stack[place], averaged)
            assert found[place] == pytest.approx(alone, abs=1e-15), metric.name
            assert 0 <= found[place] <= 1, metric.name
        assert np.isnan(metric.score(0 * stack[0, 0], averaged)), metric.name
    assert not recwarn.list


def test_no_metric_is_defined_without_a_source_and_a_title_of_its_own():
    assert all(metric.source for metric in METRICS.values())
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_the_iou_of_categories_needs_all_classes():
    confusion = np.zeros((19, 19), int)
    confusion[13, 14] = confusion[0, 0] = confusion[1, 0] = 5  # car for truck, sidewalk for road
    found = evaluate(CLASSES, CLASSES, {"confusion": confusion}, {})
    assert found["category_mIoU"] == 1
    assert evaluate(CLASSES, CLASSES[:18], {"confusion": confusion}, {})["category_mIoU"] is None
    assert len(CATEGORIES) == 7


def test_the_drivable_area_is_counted_in_every_way_whatever_is_averaged():
    confusion = np.array([[6, 1, 1], [1, 4, 1], [2, 1, 3]])
    for averaged in (DRIVABLE.classes, DRIVABLE.classes[:1]):
        found = evaluate(DRIVABLE.classes, averaged, {"confusion": confusion}, {})
        assert {way.metric: found[way.metric] for way in WAYS} == {
            way.metric: score(way, confusion) for way in WAYS
        }
    others = evaluate(("a", "b", "c"), ("a",), {"confusion": confusion}, {})
    assert not any(name.startswith("drivable") for name in others)


# --- by name ---


def test_the_name_of_a_class_is_its_iou_if_it_is_averaged():
    confusion = np.array([[3, 1], [1, 3]])
    metric = get_metric("car", ["road", "car"])
    assert metric.score(confusion, [0, 1]) == 3 / 5
    assert np.isnan(metric.score(confusion, [0]))
    assert metric.title == "IoU of car"
    assert get_metric("sky", ["road", "car"]) is None
    assert get_metric("drivable_with_background", ["road", "car"]) is None


RECORD = dict(
    classes=["road", "car"],
    eval_classes=["road", "car"],
    iou=dict(road=0.6, car=0.6),
    metrics=dict(mIoU=0.6, pixel_accuracy=0.75, of_others=0.3),
    confusion=[[3, 1], [1, 3]],
    counts={},
)


def test_a_value_is_as_recorded_or_over_other_classes():
    for name, averaged, value in (
        ("mIoU", None, 0.6),
        ("mIoU", ["road", "car"], 0.6),
        ("mIoU", ["road"], 3 / 5),
        ("mIoU", ["road", "tram"], 3 / 5),
        ("mIoU", ["tram"], None),
        ("mean_class_accuracy", ["car"], 3 / 4),
        ("pixel_accuracy", ["road"], 0.75),
        ("car", None, 0.6),
        ("car", ["road"], None),
        ("tram", None, None),
        ("boundary_iou", ["road"], None),
        ("of_others", None, 0.3),
        ("of_others", ["road"], None),
    ):
        assert value_of(RECORD, name, averaged) == value, (name, averaged)


# --- one's own ---


@pytest.fixture
def own(monkeypatch) -> Metric:
    """The largest share of a class among the predictions, registered as a user's module does."""
    monkeypatch.setattr(metrics, "METRICS", dict(METRICS))
    return register(
        Metric("largest", "largest class", lambda counts, _: counts.sum(-2).max(-1) / 8, "mine")
    )


def test_ones_own_metric_is_computed_as_the_others(own):
    found = evaluate(["a", "b"], ["a"], {"confusion": np.array([[3, 1], [1, 3]])}, {})
    assert found["largest"] == 0.5
    assert list(found)[-1] == "largest"


def test_a_name_that_is_taken_is_refused(own):
    for name in ("mIoU", "largest", "car", "direct"):
        with pytest.raises(UserError, match=f"metric '{name}': the name is taken"):
            register(Metric(name, "x", None, "mine"))


def test_an_unknown_metric_in_a_config_is_refused_with_the_nearest_names():
    with pytest.raises(UserError, match="unknown metric in metrics 'boundry_iou'; did you mean bo"):
        metrics.counting(["boundry_iou"])
    assert [m.name for m in metrics.counting(["calibration", "mIoU"])] == ["calibration"]
