"""Bootstrap and intervals: against sums worked by hand, classical formulas, and simulated truth."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t as student

from ibnseg.evaluation.confusion import iou, mean_iou, pixel_accuracy
from ibnseg.report.statistics import (
    Scores,
    Spread,
    combine,
    draws,
    interval,
    interval_of_seeds,
    resample,
    spread,
    sum_groups,
)


def accurate(shares: np.ndarray, pixels: int = 1000) -> np.ndarray:
    """Matrices (..., 2, 2) of images of one class, with these shares of their pixels right."""
    right = np.rint(pixels * np.asarray(shares)).astype(np.int64)
    matrices = np.zeros((*right.shape, 2, 2), np.int64)
    matrices[..., 0, 0], matrices[..., 0, 1] = right, pixels - right
    return matrices


def scored(shares: np.ndarray, resamples: int = 1000, seed: int = 0, sample: str = "s") -> Scores:
    """Pixel accuracy of S trainings on G images, from their shares (S, G)."""
    matrices = accurate(shares)
    values = pixel_accuracy(matrices.sum(axis=1))
    found = spread(list(matrices), pixel_accuracy, resamples, seed)
    return Scores(tuple(range(len(matrices))), values, {sample: found})


# --- sums ---


def test_matrices_are_summed_by_group_in_order_of_names():
    matrices = np.arange(16).reshape(4, 2, 2)
    sums = sum_groups(matrices.astype(np.uint32), ["b", "a", "b", "c"])
    assert sums.dtype == np.int64
    assert sums.tolist() == [[[4, 5], [6, 7]], [[8, 10], [12, 14]], [[12, 13], [14, 15]]]


def test_sums_by_group_do_not_overflow():
    matrices = np.full((3, 1, 1), 2**32 - 1, np.uint32)
    assert sum_groups(matrices, ["a"] * 3).item() == 3 * (2**32 - 1)


# --- resampling ---


@settings(deadline=None, max_examples=30)
@given(arrays(np.int64, (4, 2, 2), elements=st.integers(0, 2**40)), st.integers(0, 99))
def test_resamples_are_exact_sums_of_draws(matrices, seed):
    """Every resample is the sum over images, as often as the generator drew each."""
    counts = draws(4, 20, seed)
    for one, drawn in zip(resample(matrices, counts), counts.tolist(), strict=True):
        by_hand = [
            [sum(n * int(m[i, j]) for n, m in zip(drawn, matrices, strict=True)) for j in (0, 1)]
            for i in (0, 1)
        ]
        assert one.tolist() == by_hand
        assert sum(drawn) == 4


def test_counts_that_float64_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="not exact"):
        resample(np.full((2, 1, 1), 2**52), draws(2))


def test_resamples_of_two_images_are_as_frequent_as_by_enumeration():
    """One all right, one all wrong: 1, 1/2 and 0 with probabilities 1/4, 1/2 and 1/4."""
    found = spread([accurate([1, 0])], pixel_accuracy, 4000)
    values, counts = np.unique(np.round(found.deviations, 1), return_counts=True)
    assert values.tolist() == [-0.5, 0, 0.5]
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)
    assert found.units == 2


def test_draws_depend_on_their_seed_alone():
    np.testing.assert_array_equal(draws(9, 9, 3), draws(9, 9, 3))
    assert (draws(9, 9, 3) != draws(9, 9, 4)).any()


def test_images_without_the_class_are_not_counted_as_units():
    """Two of four images have the class; resamples without it leave its IoU undefined."""
    matrices = np.zeros((4, 2, 2), np.int64)
    matrices[:, 0, 0] = 5
    matrices[0, 1, 1], matrices[1, 1, 0] = 4, 4
    found = spread([matrices], lambda m: iou(m)[..., 1], 2000)
    assert found.units == 2
    assert np.isnan(found.deviations).mean() == pytest.approx(1 / 16, abs=0.02)
    assert np.nanmean(found.deviations) == pytest.approx(0, abs=1e-12)


# --- intervals by hand ---


def over_seeds(values: list[float]) -> Scores:
    """Scores whose images say nothing: they never vary."""
    flat = Spread(np.zeros((len(values), 10)), 1000)
    return Scores(tuple(range(len(values))), np.array(values), {"s": flat})


def half(scores: Scores, confidence: float = 0.95) -> float:
    found = interval(scores, confidence)
    assert (found.low + found.high) / 2 == pytest.approx(scores.mean, abs=1e-9)
    return (found.high - found.low) / 2


def test_the_interval_over_seeds_alone_is_students_t():
    """Three values of standard deviation 1; Student's t of two degrees of freedom is 4.3027."""
    assert half(over_seeds([1.0, 2.0, 3.0])) == pytest.approx(4.302653 / sqrt(3), abs=1e-6)


def test_the_interval_of_five_seeds_at_95_and_90_percent():
    """t of four degrees of freedom is 2.7764; at 90 %, 2.1318; the standard deviation sqrt(5)."""
    five = over_seeds([0.0, 0.0, 0.0, 0.0, 5.0])
    assert half(five) == pytest.approx(2.776445, abs=1e-6)
    assert half(five, 0.9) == pytest.approx(2.131847, abs=1e-6)


def test_images_alone_are_the_interval_of_their_mean():
    """With images of equal size, accuracy is a mean and the half-width t(G - 1) s / sqrt(G)."""
    shares = np.array([0.2, 0.3, 0.5, 0.55, 0.9])
    classical = student.ppf(0.975, 4) * shares.std(ddof=1) / sqrt(5)
    assert half(scored(shares[None], 20_000)) == pytest.approx(classical, rel=0.02)


def test_seeds_and_images_have_the_degrees_of_freedom_of_welch_and_satterthwaite():
    """Variances 0.04 / 4 = 0.01 of 3 degrees of freedom over seeds, and 0.01 * 5 / 4 = 0.0125 of 4
    over images: 0.0225, of 0.0225**2 / (0.01**2 / 3 + 0.0125**2 / 4) = 6.99 degrees."""
    values = np.array([0.0, 0.4, 0.2, 0.2])
    values = 0.5 + (values - 0.2) * 0.2 / values.std(ddof=1)
    deviations = np.tile([0.1, -0.1], (4, 5))
    scores = Scores((0, 1, 2, 3), values, {"s": Spread(deviations, 5)})
    expected = student.ppf(0.975, 0.0225**2 / (0.0001 / 3 + 0.00015625 / 4)) * 0.15
    assert half(scores) == pytest.approx(expected, rel=1e-9)


def test_unknown_images_one_group_or_an_undefined_score_have_no_interval():
    for scores in (
        Scores((0, 1), np.array([0.1, 0.2]), {}),
        Scores((0,), np.array([0.1]), {"s": Spread(np.zeros((1, 9)), 1)}),
        Scores((0,), np.array([np.nan]), {"s": Spread(np.zeros((1, 9)), 9)}),
    ):
        assert interval(scores) is None, scores


# --- sums of scores ---


def test_a_network_minus_itself_is_zero_without_doubt():
    one = scored(np.random.default_rng(0).uniform(0, 1, (3, 8)))
    assert interval(combine([one, one], [1, -1])) == (0, 0)


def test_pairing_takes_away_what_images_share():
    """The same images are hard for both; network b is 0.1 worse on each of them."""
    shares = np.linspace(0.2, 0.9, 8)[None]
    a, b = scored(shares), scored(shares - 0.1)
    paired = combine([a, b], [1, -1])
    assert paired.mean == pytest.approx(0.1)
    assert half(paired) == pytest.approx(0, abs=1e-9)
    assert half(a) > 0.15


@settings(deadline=None, max_examples=20)
@given(arrays(np.float64, (2, 3, 6), elements=st.floats(0, 1)))
def test_the_interval_of_a_reversed_difference_is_mirrored(shares):
    a, b = map(scored, shares)
    forth, back = (interval(combine(pair, [1, -1])) for pair in ([a, b], [b, a]))
    np.testing.assert_allclose(forth, [-back.high, -back.low], atol=1e-9)


def test_only_common_seeds_are_compared():
    a = Scores((0, 1, 2), np.array([0.1, 0.2, 0.3]), {})
    b = Scores((2, 0, 5), np.array([0.6, 0.5, 0.9]), {})
    paired = combine([b, a], [1, -1])
    assert paired.seeds == (2, 0)
    np.testing.assert_allclose(paired.values, [0.3, 0.4])
    assert combine([a, Scores((7,), np.array([0.1]), {})], [1, -1]) is None


def test_a_mean_over_domains_adds_variances_of_different_images():
    """Two domains of the same spread: half the standard error is divided by sqrt(2); of the same
    images it stays."""
    shares = np.random.default_rng(1).uniform(0.3, 0.9, (1, 200))
    one = scored(shares, 4000, seed=1, sample="one")
    other = scored(shares, 4000, seed=2, sample="other")
    again = scored(shares, 4000, seed=1, sample="one")
    assert half(combine([one, other], [0.5, 0.5])) == pytest.approx(half(one) / sqrt(2), rel=0.05)
    assert half(combine([one, again], [0.5, 0.5])) == pytest.approx(half(one), rel=1e-9)


def test_a_mean_without_the_images_of_one_domain_has_no_interval():
    one = scored(np.random.default_rng(1).uniform(0, 1, (1, 9)))
    assert interval(combine([one, Scores((0,), np.array([0.5]), {})], [0.5, 0.5])) is None


# --- what is promised ---

REPEATS = 400


def covered(shares) -> float:
    """How often the interval holds the true 0.6, over draws of shares (S, G)."""
    hits = 0
    for i in range(REPEATS):
        found = interval(scored(np.clip(shares(i), 0, 1), 200, seed=i))
        hits += found.low <= 0.6 <= found.high
    return hits / REPEATS


def test_intervals_of_one_seed_hold_the_truth_as_often_as_they_promise():
    """The share of intervals that hold the truth, over groups drawn anew each time."""
    for groups in (2, 3, 8, 40):
        rng = np.random.default_rng(groups)
        share = covered(lambda i, rng=rng, n=groups: rng.normal(0.6, 0.08, (1, n)))
        assert 0.925 <= share <= 0.975, groups


def trainings(rng: np.random.Generator, seeds: int, groups: int, of_seed: float, of_group: float):
    """A function that draws the shares (S, G) of trainings that vary as said."""

    def draw(i: int) -> np.ndarray:
        training = rng.normal(0, of_seed * sqrt(seeds), (seeds, 1))
        return 0.6 + training + rng.normal(0, of_group * sqrt(groups), (1, groups))

    return draw


def test_intervals_of_several_seeds_hold_the_truth_at_least_as_often_as_they_promise():
    """Groups and trainings are drawn anew each time, of like weight. Few of both make the degrees
    of freedom uncertain, and the interval wide rather than narrow."""
    for seeds, groups in ((2, 3), (3, 3), (3, 40), (5, 10)):
        rng = np.random.default_rng(100 * seeds + groups)
        share = covered(trainings(rng, seeds, groups, 0.05, 0.05))
        assert 0.925 <= share <= 0.99, (seeds, groups)


def test_intervals_of_two_seeds_are_too_narrow_if_seeds_weigh_more_than_many_images():
    """Two seeds that agree by chance leave the degrees of freedom to the images."""
    for seeds, least, most in ((2, 0.86, 0.93), (3, 0.9, 0.96), (5, 0.92, 0.97)):
        share = covered(trainings(np.random.default_rng(seeds), seeds, 200, 0.02, 0.01))
        assert least <= share <= most, seeds


def test_percentiles_of_three_groups_hold_the_truth_too_seldom():
    """Why Student's t: the bootstrap's own percentiles promise 95 % and hold some 72."""
    rng, hits = np.random.default_rng(0), 0
    for i in range(REPEATS):
        scores = pixel_accuracy(resample(accurate(rng.normal(0.6, 0.08, 3)), draws(3, 200, i)))
        low, high = np.percentile(scores, [2.5, 97.5])
        hits += low <= 0.6 <= high
    assert 0.6 < hits / REPEATS < 0.8


def test_mean_iou_of_resamples_is_that_of_each():
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 99, (6, 3, 3))
    stack = resample(matrices, draws(6, 7))
    np.testing.assert_array_equal(mean_iou(stack, [0, 2]), [mean_iou(m, [0, 2]) for m in stack])


def test_the_interval_of_three_values_over_seeds_worked_by_hand() -> None:
    """1, 2 and 6 have mean 3 and deviation sqrt(7); t with 2 degrees of freedom is 4.303."""
    low, high = interval_of_seeds(np.array([1.0, 2.0, 6.0]))
    half = 4.302652729749464 * sqrt(7 / 3)
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-12)
    assert interval_of_seeds(np.array([4.0, 4.0])) == (4, 4)
    assert interval_of_seeds(np.array([4.0])) is None
    assert interval_of_seeds(np.array([4.0, np.nan])) is None
