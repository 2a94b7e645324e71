"""Frames and outlines against cases worked out by hand, and their invariants."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibnseg.streets.scene import CIRCLE, UP, Facet, Frame, Random, box, disc, limb, unit

LENGTH = st.floats(-50, 50)
SLOPE = st.floats(-30, 30)
SURFACE = (11, "brick", 0.5)


def points(facet: Facet) -> list[tuple]:
    """The corners of a facet in space, by its definition."""
    return [
        tuple(o + a * r + b * u for o, r, u in zip(*facet[3:6], strict=True))
        for a, b in facet.outline
    ]


def test_point_of_a_frame_that_faces_along_x():
    """Facing X, the right hand is at -Z; up stays up."""
    frame = Frame((10.0, 1.0, 20.0), right=(0.0, 0.0, -1.0), ahead=(1.0, 0.0, 0.0))
    assert frame.point(2, 3, 5) == (15.0, 4.0, 18.0)
    assert Frame((10.0, 1.0, 20.0)).point(2, 3, 5) == (12.0, 4.0, 25.0)


def test_turned_goes_to_the_right_for_each_unit_ahead():
    """A slope of 3/4 makes the triangle 3, 4, 5."""
    frame = Frame((1.0, 2.0, 3.0)).turned(0.75)
    assert frame.origin == (1.0, 2.0, 3.0)
    assert frame.ahead == pytest.approx((0.6, 0.0, 0.8), abs=1e-15)
    assert frame.right == pytest.approx((0.8, 0.0, -0.6), abs=1e-15)


@given(SLOPE, SLOPE)
def test_turned_by_the_sum_of_angles(first, second):
    """Turns add up as angles do, and right and ahead stay unit and square to each other."""
    frame = Frame((0.0, 0.0, 0.0)).turned(first).turned(second)
    angle = math.atan(first) + math.atan(second)
    assert frame.ahead == pytest.approx((math.sin(angle), 0, math.cos(angle)), abs=1e-12)
    assert frame.right == pytest.approx((math.cos(angle), 0, -math.sin(angle)), abs=1e-12)


@given(LENGTH, LENGTH, LENGTH, SLOPE)
def test_reversed_mirrors_at_the_upright_axis(x, y, z, slope):
    """What is right and ahead of one is left of and behind the other; twice is back again."""
    frame = Frame((4.0, 5.0, 6.0)).turned(slope)
    assert frame.reversed().point(x, y, z) == frame.point(-x, y, -z)
    assert frame.reversed().reversed() == frame


def test_mirrored_exchanges_right_and_left() -> None:
    frame = Frame((4.0, 5.0, 6.0)).turned(0.5)
    assert frame.mirrored().point(2, 1, 3) == frame.point(-2, 1, 3)


def test_uniform_draws_equal_numpys() -> None:
    """NumPy computes the same values without fused operations."""
    values = Random(7).uniform(-3, 8, 100)
    u = np.random.RandomState(7).random_sample(100)
    np.testing.assert_array_equal(values, -3 + 11 * u)
    assert Random(7).uniform(-3, 8) == values[0]


def test_across_and_along_lie_where_worked_out_by_hand():
    """Frame at (10, 0, 20) facing X: across lies in the plane X = 11, along in the plane Z = 18."""
    frame = Frame((10.0, 0.0, 20.0), right=(0.0, 0.0, -1.0), ahead=(1.0, 0.0, 0.0))
    across, along = (
        frame.across(SURFACE, box(0, 2, 0, 3), 1),
        frame.along(SURFACE, box(0, 2, 0, 3), 2),
    )
    assert across[:3] == along[:3] == SURFACE
    assert points(across) == [(11, 0, 20), (11, 0, 18), (11, 3, 18), (11, 3, 20)]
    assert points(along) == [(10, 0, 18), (12, 0, 18), (12, 3, 18), (10, 3, 18)]
    assert across.up == along.up == UP


def test_a_unit_vector_and_its_length():
    direction, length = unit((2.0, -3.0, 6.0))
    assert direction == (2 / 7, -3 / 7, 6 / 7)
    assert length == 7.0


def test_a_vector_of_length_0_has_no_direction():
    with pytest.raises(ZeroDivisionError):
        unit((0.0, 0.0, 0.0))


def test_a_box_has_its_corners_in_order():
    assert box(1, 2, 3, 5) == ((1, 3), (2, 3), (2, 5), (1, 5))


def test_circle_is_the_regular_polygon_of_16_corners_in_six_digits():
    angles = np.arange(16) * math.pi / 8
    np.testing.assert_allclose(CIRCLE, np.stack([np.cos(angles), np.sin(angles)], 1), atol=5.1e-7)
    assert all(round(v, 6) == v for corner in CIRCLE for v in corner)
    assert CIRCLE[2] == (0.707107, 0.707107)
    assert CIRCLE[4] == (0.0, 1.0)


def test_disc_and_ellipse_have_the_corners_worked_out_by_hand():
    """Corners 0, 4, 8, 12 lie right, above, left and below."""
    assert disc(1, 2, 0.5)[::4] == ((1.5, 2), (1, 2.5), (0.5, 2), (1, 1.5))
    assert disc(1, 2, 0.5, 3)[::4] == ((1.5, 2), (1, 5), (0.5, 2), (1, -1))


def test_a_limb_has_the_corners_worked_out_by_hand():
    """A bar from (0, 0) to (3, 4), 10 wide: half of the width along (4, -3) / 5."""
    corners = [(-4, 3), (4, -3), (7, 1), (-1, 7)]
    np.testing.assert_allclose(limb(0, 0, 3, 4, 10), corners, atol=1e-14)


@given(LENGTH, LENGTH, LENGTH, LENGTH, st.floats(0.01, 2))
def test_limb_is_a_rectangle_around_its_axis(a0, b0, a1, b1, width):
    """Its ends are centred on the two points, as wide as said, and square to the axis."""
    axis = np.array([a1 - a0, b1 - b0])
    if math.hypot(*axis) < 1e-3:
        return
    p, q, r, s = np.array(limb(a0, b0, a1, b1, width))
    np.testing.assert_allclose((p + q) / 2, (a0, b0), atol=1e-12)
    np.testing.assert_allclose((r + s) / 2, (a1, b1), atol=1e-12)
    np.testing.assert_allclose([math.hypot(*(q - p)), math.hypot(*(r - s))], width, rtol=1e-9)
    assert abs((q - p) @ axis) / math.hypot(*axis) < 1e-11
