"""Streaming moments: against direct float64 computation, in any order and split, and stable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibnseg.analysis.divergence.moments import BUFFER, FeatureMoments, Moments, image_weights

SEEDS = st.integers(0, 2**32 - 1)


def direct(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and population variance, by images repeated as often as they count."""
    repeated = [np.repeat(values, row.astype(int), axis=0) for row in weights]
    return np.array([r.mean(axis=0) for r in repeated]), np.array([r.var(axis=0) for r in repeated])


def test_moments_are_those_worked_out_by_hand() -> None:
    """1, 2, 6: mean 3, squared deviations 4 + 1 + 9; counted 0, 1 and 2 times: mean 14/3."""
    found = Moments.of(np.array([[1.0], [2.0], [6.0]]), np.array([[1, 1, 1], [0, 1, 2]]))
    assert found.images.tolist() == [3, 2]
    assert found.weight.tolist() == [3, 3]
    np.testing.assert_allclose(found.mean, [[3], [14 / 3]], rtol=1e-15)
    np.testing.assert_allclose(found.variance, [[14 / 3], [32 / 9]], rtol=1e-15)


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, count=st.integers(2, 40), parts=st.integers(1, 6))
def test_any_split_and_order_merges_to_the_same(seed: int, count: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(0, 100), 1, (count, 3))
    weights = np.vstack([np.ones(count), rng.poisson(1, (4, count))])
    weights[:, 0] += weights.sum(axis=1) == 0
    order = rng.permutation(count)
    pieces = [part for part in np.array_split(order, parts) if len(part)]
    moments = [Moments.of(values[part], weights[:, part]) for part in pieces]
    while len(moments) > 1:  # as a tree of processes merges, in any order
        a = moments.pop(rng.integers(len(moments)))
        b = moments.pop(rng.integers(len(moments)))
        moments.append(a.merge(b))
    mean, variance = direct(values, weights)
    np.testing.assert_allclose(moments[0].mean, mean, rtol=1e-11)
    np.testing.assert_allclose(moments[0].variance, variance, rtol=1e-9, atol=1e-10)
    assert (moments[0].images == (weights > 0).sum(axis=1)).all()


def test_small_deviations_about_a_large_mean() -> None:
    """A mean of 1e8 with deviations of 1e-3, where sums of squares would lose every digit."""
    values = 1e8 + np.array([[-1e-3], [0], [1e-3]])
    parts = [Moments.of(values[i : i + 1], np.ones((1, 1))) for i in range(3)]
    found = parts[0].merge(parts[1]).merge(parts[2])
    np.testing.assert_allclose(found.variance, values.var(axis=0)[None], rtol=1e-4)


def test_a_constant_has_no_variance() -> None:
    values = np.full((7, 2), 0.1)
    weights = image_weights(range(7), 20)
    found = Moments.of(values[:3], weights[:, :3]).merge(Moments.of(values[3:], weights[:, 3:]))
    assert found.variance.max() < 1e-30


def test_images_of_no_weight_do_not_count() -> None:
    none = Moments.of(np.array([[9.0]]), np.zeros((2, 1)))
    some = Moments.of(np.array([[3.0], [5.0]]), np.array([[1, 1], [0, 0]]))
    for merged in (none.merge(some), some.merge(none)):
        assert merged.mean.tolist() == [[4], [0]]
        assert merged.variance.tolist() == [[1], [0]]
    with pytest.raises(ValueError, match="shapes"):
        none.merge(Moments.of(np.zeros((1, 3)), np.ones((2, 1))))


def test_the_bootstrap_weights_depend_on_the_image_alone() -> None:
    """The first weight is 1, the others are Poisson with mean and variance 1, and independent."""
    weights = image_weights(range(2000), 50, key=(0, 1))
    assert (weights[0] == 1).all()
    assert abs(weights[1:].mean() - 1) < 0.02
    assert abs(weights[1:].var() - 1) < 0.03
    np.testing.assert_array_equal(image_weights([7, 3], 50, key=(0, 1)), weights[:, [7, 3]])
    other = image_weights(range(2000), 50, key=(0, 2))
    assert abs(np.corrcoef(weights[1:].ravel(), other[1:].ravel())[0, 1]) < 0.02


def stream(values: np.ndarray, batches: list[int], indices: np.ndarray | None = None):
    moments = FeatureMoments(replicates=8)
    for part in np.split(np.arange(len(values)), np.cumsum(batches)[:-1]):
        own = None if indices is None else indices[part].tolist()
        moments.update({"a": values[part], "b": 2 * values[part, :1]}, own)
    return moments


def test_batches_of_any_size_give_the_same_moments() -> None:
    """More images than the buffer holds, in batches of any size, and from two processes."""
    count = 2 * BUFFER + 5
    values = np.random.default_rng(0).normal(5, 1, (count, 3))
    mean, variance = direct(values, image_weights(range(count), 8, (0,)))
    singly = stream(values, [1] * count)
    large = stream(values, [count - 3, 3])
    halves = [stream(values[i::2], [count // 2 + 1 - i], np.arange(count)[i::2]) for i in (0, 1)]
    for found in (singly, large, halves[0].merge(halves[1])):
        assert found.images == count
        np.testing.assert_allclose(found.layers["a"].mean, mean, rtol=1e-12)
        np.testing.assert_allclose(found.layers["a"].variance, variance, rtol=1e-9)
        np.testing.assert_allclose(found.layers["b"].mean, 2 * mean[:, :1], rtol=1e-12)
    assert not singly._held
    assert FeatureMoments(8).merge(singly).images == count
    with pytest.raises(ValueError, match="replicates"):
        singly.merge(FeatureMoments(9))
