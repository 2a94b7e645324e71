"""Means and their intervals."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibnseg.evaluation.statistics import mean_interval


def test_by_hand() -> None:
    """Three values of standard deviation 1; Student's t of two degrees of freedom is 4.3027."""
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302653 / sqrt(3), abs=1e-6)


def test_five_values() -> None:
    """t of four degrees of freedom is 2.7764; at 90 %, 2.1318."""
    values = [0.0, 0.0, 0.0, 0.0, 5.0]  # standard deviation sqrt(5)
    assert mean_interval(values)[1] == pytest.approx(2.776445, abs=1e-6)
    assert mean_interval(values, 0.9)[1] == pytest.approx(2.131847, abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.floats(-1e3, 1e3))
def test_a_shift_moves_the_mean_alone(values: list[float], shift: float) -> None:
    mean, half = mean_interval(values)
    moved, same = mean_interval([value + shift for value in values])
    np.testing.assert_allclose([moved, same], [mean + shift, half], atol=1e-6)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two"):
        mean_interval([1.0])
