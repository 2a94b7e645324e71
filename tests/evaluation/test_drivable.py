"""The drivable area by each way of counting: worked by hand, and against a count of pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from ibnseg.evaluation.drivable import WAYS, score, scores_by_way

quick = settings(deadline=None, max_examples=50)

DIRECT, ALTERNATIVE, BACKGROUND = range(3)
WITH_BACKGROUND, HEADLINE, DROPPED = WAYS

counts = st.one_of(st.just(0), st.integers(0, 1000))
matrices = arrays(np.int64, (3, 3), elements=counts)
maps = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[arrays(np.uint8, (1, n), elements=st.integers(0, 2))] * 2)
)


def scores(confusion) -> list:
    return [score(way, np.asarray(confusion)) for way in WAYS]


def counted(truth, prediction, averaged, ignored) -> float:
    """The mean IoU over the averaged classes that are true somewhere, by sets of pixels."""
    pixels = [(t, p) for t, p in zip(truth.flat, prediction.flat, strict=True) if t not in ignored]
    found = []
    for k in averaged:
        true = {i for i, (t, _) in enumerate(pixels) if t == k}
        predicted = {i for i, (_, p) in enumerate(pixels) if p == k}
        if true:
            found.append(len(true & predicted) / len(true | predicted))
    return math.fsum(found) / len(found) if found else math.nan


def test_each_way_of_counting_worked_by_hand():
    # direct 6 of 8 true, 9 predicted (2 of them on background); alternative 4 of 6, 6 predicted
    # (1 on background); background 3 of 6, 5 predicted
    assert scores([[6, 1, 1], [1, 4, 1], [2, 1, 3]]) == pytest.approx(
        [
            (6 / (8 + 9 - 6) + 4 / (6 + 6 - 4) + 3 / (6 + 5 - 3)) / 3,
            (6 / (8 + 9 - 6) + 4 / (6 + 6 - 4)) / 2,
            (6 / (8 + 7 - 6) + 4 / (6 + 5 - 4)) / 2,
        ],
        abs=1e-15,
    )


def test_only_the_third_way_is_perfect_if_background_is_taken_for_drivable():
    """Half of 8 pixels drivable, all right; the background is taken for both: perfect by the third
    way, IoU 2/4, 2/4 and 0 by the others."""
    assert scores([[2, 0, 0], [0, 2, 0], [2, 2, 0]]) == pytest.approx([1 / 3, 1 / 2, 1.0])


def test_perfect_predictions_score_1_in_every_way():
    assert scores(np.diag([5, 3, 9])) == [1.0, 1.0, 1.0]


def test_predicting_only_background_scores_0_on_the_drivable_area():
    """Only background, 6 of 10 pixels, is predicted correctly."""
    assert scores([[0, 0, 3], [0, 0, 1], [0, 0, 6]]) == pytest.approx([0.6 / 3, 0, 0])


def test_a_class_that_is_never_true_is_left_out():
    """Unlike in mIoU, where alternative would be 0: predicted, on background too, never true."""
    confusion = np.array([[6, 2, 0], [0, 0, 0], [0, 1, 3]])
    assert scores(confusion) == [(6 / 8 + 3 / 4) / 2, 6 / 8, 6 / 8]
    assert mean_iou(confusion, [DIRECT, ALTERNATIVE]) == 6 / 8 / 2


def test_without_background_the_last_two_scores_are_equal():
    confusion = np.array([[6, 1, 1], [2, 4, 0], [0, 0, 0]])
    assert scores(confusion) == pytest.approx([(6 / 10 + 4 / 7) / 2] * 3, abs=1e-15)


def test_a_way_without_any_true_class_is_undefined(recwarn):
    only_background = [[0, 0, 0], [0, 0, 0], [1, 0, 3]]
    assert scores(only_background) == pytest.approx([3 / 4, math.nan, math.nan], nan_ok=True)
    assert all(map(math.isnan, scores(np.zeros((3, 3), int))))
    assert not recwarn.list


def test_counts_beyond_32_bits_are_exact():
    large = np.array([[2**32 - 1, 0, 0], [0, 1, 0], [2**32 - 1, 0, 0]], np.uint32)
    assert scores(large) == [0.5, 0.75, 1.0]


def test_matrices_that_are_not_3_by_3_are_refused():
    for shape in ((2, 2), (19, 19), (3, 4), (3,), (3, 3, 4)):
        with pytest.raises(ValueError, match=r"expected confusion \(\.\.\., 3, 3\), got \("):
            score(HEADLINE, np.zeros(shape, int))


@quick
@given(maps)
def test_every_way_equals_a_count_of_pixels(pair):
    confusion = confusion_matrix(*pair, 3)
    everything, drivable = (DIRECT, ALTERNATIVE, BACKGROUND), (DIRECT, ALTERNATIVE)
    expected = [
        counted(*pair, everything, ignored=()),
        counted(*pair, drivable, ignored=()),
        counted(*pair, drivable, ignored=(BACKGROUND,)),
    ]
    assert scores(confusion) == pytest.approx(expected, abs=1e-15, nan_ok=True)


@quick
@given(matrices)
def test_dropping_background_never_lowers_the_score(confusion):
    """Dropping background only removes false positives."""
    _, headline, dropped = scores(confusion)
    assert math.isnan(headline) == math.isnan(dropped)
    assert math.isnan(headline) or 0 <= headline <= dropped <= 1


@quick
@given(matrices)
def test_dropping_background_ignores_predictions_on_it(confusion):
    other = confusion.copy()
    other[BACKGROUND] = [7, 0, 11]
    assert score(DROPPED, other) == pytest.approx(score(DROPPED, confusion), abs=0, nan_ok=True)


@quick
@given(matrices)
def test_the_headline_is_miou_if_both_classes_are_true(confusion):
    if confusion[:2].sum(axis=1).all():
        assert score(HEADLINE, confusion) == mean_iou(confusion, [DIRECT, ALTERNATIVE])


@quick
@given(arrays(np.int64, (2, 3, 3, 3), elements=counts))
def test_stacks_are_scored_one_by_one(stack):
    for way in WAYS:
        found = score(way, stack)
        assert (found.shape, found.dtype) == ((2, 3), np.float64)
        for place in np.ndindex(2, 3):
            np.testing.assert_array_equal(found[place], score(way, stack[place]))
            assert type(score(way, stack[place])) is float


def test_further_scores_are_keyed_by_the_ways():
    confusion = np.array([[2, 0, 0], [0, 2, 0], [2, 2, 0]])
    keys = ("with_background", "direct_alternative", "background_dropped")
    expected = dict(zip(keys, scores(confusion), strict=True))
    assert scores_by_way(confusion) == {"drivable": expected}
