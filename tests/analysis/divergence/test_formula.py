"""Divergence: closed forms, a direct computation, invariances, constant channels, intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

from ibnseg.analysis.divergence.formula import (
    EPSILON,
    LayerDivergence,
    divergence,
    over_seeds,
    ratio,
    symmetric_kl,
)
from ibnseg.analysis.divergence.moments import FeatureMoments
from ibnseg.support.errors import UserError

MEANS = st.floats(-100, 100)
STDS = st.floats(0.01, 100)


def by_definition(mean_a: float, std_a: float, mean_b: float, std_b: float) -> float:
    def one_way(m: float, s: float, n: float, t: float) -> float:
        return math.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5

    return one_way(mean_a, std_a, mean_b, std_b) + one_way(mean_b, std_b, mean_a, std_a)


def moments(values: np.ndarray, replicates: int = 200, key: int = 0) -> FeatureMoments:
    found = FeatureMoments(replicates, (key,))
    for i in range(0, len(values), 50):
        found.update({"layer": values[i : i + 50]})
    return found


def test_divergence_of_simple_gaussians_has_its_closed_form() -> None:
    assert symmetric_kl(0, 1, 0, 1) == 0
    assert symmetric_kl(0, 1, 3, 1) == 9  # equal deviations: the squared distance in them
    assert symmetric_kl(0, 1, 0, 2) == (4 + 1 / 4) / 2 - 1
    # ((4 + 1) / 9 + (9 + 1) / 4) / 2 - 1 = 19 / 36
    np.testing.assert_allclose(symmetric_kl([1, 2], [2, 1], [0, 2], [3, 1]), [19 / 36, 0])


def test_divergence_equals_its_integral() -> None:
    """The symmetric KL divergence of two densities is the integral of (p - q) log(p / q)."""
    p, q = norm(0.3, 0.8), norm(-0.5, 1.1)
    integral, _ = quad(lambda x: (p.pdf(x) - q.pdf(x)) * (p.logpdf(x) - q.logpdf(x)), -12, 12)
    assert symmetric_kl(0.3, 0.8, -0.5, 1.1) == pytest.approx(integral, rel=1e-8)


@given(MEANS, STDS, MEANS, STDS, st.floats(0.5, 10), MEANS)
def test_divergence_is_symmetric_and_free_of_units(
    m: float, s: float, n: float, t: float, factor: float, shift: float
) -> None:
    """Symmetric, 0 or more, and the same for features in other units."""
    value = symmetric_kl(m, s, n, t)
    assert value >= 0
    assert value == symmetric_kl(n, t, m, s)
    assert value == pytest.approx(by_definition(m, s, n, t), rel=1e-6, abs=1e-9)
    moved = symmetric_kl(factor * m + shift, factor * s, factor * n + shift, factor * t)
    assert moved == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_divergence_is_that_of_a_direct_computation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, (130, 5)), rng.normal(0, 2, (70, 5))
    (found,) = divergence(moments(a), moments(b, key=1))
    expected = np.mean(
        [by_definition(x.mean(), x.std(), y.mean(), y.std()) for x, y in zip(a.T, b.T, strict=True)]
    )
    assert found.divergence == pytest.approx(expected, rel=1e-12)
    assert found.varying == pytest.approx(expected, rel=1e-12)
    assert (found.layer, found.channels, found.constant) == ("layer", 5, ((), ()))


def test_a_known_divergence_is_found_and_lies_in_its_interval() -> None:
    """The interval of 400 images each holds the true 2.5, and the divergence comes near to it."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (400, 30)), rng.normal(1.5, 2, (400, 30))
    true = by_definition(0, 1, 1.5, 2)
    (found,) = divergence(moments(a), moments(b, key=1))
    low, high = found.interval
    assert low < true < high
    assert high - low < 0.3 * true
    assert found.divergence == pytest.approx(true, rel=0.05)


def test_intervals_contain_the_true_divergence() -> None:
    """Of 60 pairs of sets of 25 images nine tenths at least; the replicates' quantiles would not,
    because few images make a divergence larger."""
    rng = np.random.default_rng(2)
    true, held, above = by_definition(0, 1, 0.5, 1.3), 0, 0
    for _ in range(60):
        a, b = rng.normal(0, 1, (25, 40)), rng.normal(0.5, 1.3, (25, 40))
        (found,) = divergence(moments(a, 100), moments(b, 100, key=1))
        held += found.interval[0] <= true <= found.interval[1]
        above += found.divergence > true
    assert held >= 54
    assert above >= 54


def test_constant_channels_are_named_and_finite() -> None:
    """In A, in B, in both at one value and at two: named, given epsilon, never NaN."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, (60, 5)), rng.normal(0, 1, (60, 5))
    a[:, 1], b[:, 2] = 0, 7
    a[:, 3] = b[:, 3] = 0.1
    a[:, 4], b[:, 4] = 1, 1.5
    (found,) = divergence(moments(a), moments(b, key=1))
    assert found.constant == ((1, 3, 4), (2, 3, 4))
    assert found.varying == pytest.approx(
        by_definition(a[:, 0].mean(), a[:, 0].std(), b[:, 0].mean(), b[:, 0].std())
    )
    tiny = math.sqrt(EPSILON)
    parts = [
        found.varying,
        by_definition(0, tiny, b[:, 1].mean(), b[:, 1].std()),
        by_definition(a[:, 2].mean(), a[:, 2].std(), 7, tiny),
        0,
        0.25 / EPSILON,
    ]
    assert found.divergence == pytest.approx(np.mean(parts), rel=1e-9)
    assert all(map(math.isfinite, found.interval))


def test_two_sets_of_constant_channels_do_not_diverge() -> None:
    (found,) = divergence(moments(np.zeros((50, 2))), moments(np.zeros((50, 2)), key=1))
    assert (found.divergence, found.varying, found.interval) == (0, None, (0, 0))


def test_too_few_images_have_no_variance_or_no_interval() -> None:
    """One has no variance. Two have a divergence; replicates of one alone do not count."""
    two = np.array([[0.0], [1.0]])
    with pytest.raises(UserError, match="a set of 1 images has no variance; expected 2 or more"):
        divergence(moments(two), moments(two[:1]))
    with pytest.raises(UserError, match="a set of 0 images"):
        divergence(FeatureMoments(), moments(two))
    (found,) = divergence(moments(two), moments(two + 1, key=1))
    assert found.divergence == pytest.approx(4)
    assert found.interval is None  # both are drawn of both sets in (1 - 1 / e)^4 of 200, 32
    five = np.arange(5.0)[:, None]
    (found,) = divergence(moments(five), moments(five + 1, key=1))
    assert all(map(math.isfinite, found.interval))


def test_an_image_and_its_copy_are_paired() -> None:
    """Weights of the same images are the same, so a shift alone has a narrow interval."""
    values = np.random.default_rng(4).normal(0, 1, (100, 20))
    (paired,) = divergence(moments(values), moments(values + 1))
    (unpaired,) = divergence(moments(values), moments(values + 1, key=1))
    width = [high - low for low, high in (paired.interval, unpaired.interval)]
    assert width[0] < 0.5 * width[1]


def test_sets_of_other_layers_are_refused() -> None:
    other = FeatureMoments()
    other.update({"other": np.zeros((2, 1))})
    with pytest.raises(ValueError, match="other layers"):
        divergence(moments(np.zeros((2, 1))), other)


def layer(value: float, replicates: list[float] | np.ndarray, images: int = 11) -> LayerDivergence:
    return LayerDivergence("layer", 4, value, ((), ()), value, images, np.array(replicates))


def test_seeds_are_averaged_as_worked_out_by_hand() -> None:
    """On the scale of log(1 + D): two seeds at 1 and 3, each replicate 0.1 above or below 0.2 more,
    the same in both; variances 0.01 * 11 / 10 of images, and of seeds 2 / 2."""
    moves = np.tile([0.3, 0.1], 50)
    seeds = {s: layer(np.expm1(y), np.expm1(y + moves)) for s, y in ((4, 1.0), (7, 3.0))}
    value, (low, high) = over_seeds(seeds)
    assert value == pytest.approx(np.expm1(2.0))
    of_images, of_seeds = 0.011, 1.0
    freedom = (of_images + of_seeds) ** 2 / (of_images**2 / 10 + of_seeds**2 / 1)
    half = student.ppf(0.975, freedom) * math.sqrt(of_images + of_seeds)
    assert high == pytest.approx(np.expm1(1.8 + half))
    assert low == 0  # 1.8 - half is below
    (one, (low, high)) = over_seeds({4: seeds[4]})
    half = student.ppf(0.975, 10) * math.sqrt(of_images)
    assert (one, low, high) == pytest.approx(np.expm1([1.0, 0.8 - half, 0.8 + half]))
    assert seeds[4].interval == (low, high)


def test_a_ratio_of_networks_is_over_their_common_seeds() -> None:
    """Of 1 + D, 8 to 2 and 2 to 1 in seeds that both have; replicates that move alike cancel."""
    moves = np.exp(np.tile([0.3, -0.3], 50))
    mine = {s: layer(d - 1, d * moves - 1) for s, d in ((0, 8.0), (1, 2.0), (2, 5.0))}
    others = {s: layer(d - 1, d * moves - 1) for s, d in ((1, 1.0), (0, 2.0), (3, 9.0))}
    value, (low, high) = ratio(mine, others)
    assert value == pytest.approx(8**0.5)
    half = student.ppf(0.975, 1) * math.log(2) / 2  # logs 2 log 2 and log 2: deviation / sqrt(2)
    assert (low, high) == pytest.approx((8**0.5 * math.exp(-half), 8**0.5 * math.exp(half)))
    assert ratio({0: mine[0]}, {1: others[1]}) is None


def test_without_enough_replicates_there_is_no_interval() -> None:
    few = np.where(np.arange(100) < 39, 1.0, np.nan)
    assert over_seeds({0: layer(2.0, few)}) == (pytest.approx(2.0), None)
    assert ratio({0: layer(2.0, few)}, {0: layer(0.5, np.ones(100))}) == (pytest.approx(2.0), None)


def test_the_interval_of_a_ratio_contains_the_true_ratio() -> None:
    """At least nine tenths of 40 intervals contain the ratio; both networks see the same images."""
    rng = np.random.default_rng(5)
    true = (1 + by_definition(0, 1, 0.5, 1)) / (1 + by_definition(0, 1, 1, 1))
    held = 0
    for _ in range(40):
        a, b = rng.normal(0, 1, (30, 20)), rng.normal(0, 1, (30, 20))
        found = [divergence(moments(a, 100), moments(b + d, 100, key=1))[0] for d in (0.5, 1)]
        low, high = ratio(*({0: each} for each in found)).interval
        held += low <= true <= high
    assert held >= 36
