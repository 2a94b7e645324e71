"""Boundary IoU: by hand, and against the erosion of each class's mask."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ibnseg.evaluation.boundary import (
    boundary_band,
    boundary_counts,
    boundary_iou,
    mean_boundary_iou,
)

maps = arrays(np.uint8, (9, 12), elements=st.integers(0, 2))


def mask_to_boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask without its erosion by 3 x 3, done ``width`` times, as published."""
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return mask & ~eroded[1:-1, 1:-1].astype(bool)


def test_boundary_counts_of_a_square_that_is_one_pixel_off():
    """Class 1 is a square of 4 x 4, predicted one pixel to the right; bands are one pixel wide.

    Its band is a ring of 12 pixels. Both rings share three pixels of the upper row and three of
    the lower one; their sides do not meet.
    """
    label, prediction = np.zeros((2, 20, 20), np.uint8)
    label[8:12, 8:12] = 1
    prediction[8:12, 9:13] = 1
    both, true, predicted = boundary_counts(label, prediction, 2)[1]
    assert (both, true, predicted) == (6, 12, 12)
    assert boundary_iou(np.array([[6, 12, 12]])).tolist() == [6 / 18]


def test_the_inside_of_a_large_region_does_not_count():
    """Half of 40 x 40 is class 1; its middle is missed, which no band of one pixel sees."""
    label = np.zeros((40, 40), np.uint8)
    label[:, :20] = 1
    prediction = label.copy()
    prediction[10:30, 8:12] = 0
    counts = boundary_counts(label, prediction, 2, dilation=0.01)
    assert counts[1, 0] == counts[1, 1] == 2 * 40 + 2 * 18  # all of the true band is found
    assert counts[1, 2] - counts[1, 0] == 2 * (20 + 4) + 4  # around the hole


@settings(deadline=None, max_examples=50)
@given(maps, st.integers(1, 4))
def test_the_band_of_all_classes_is_that_of_each_mask(classes, width):
    band = boundary_band(classes, width)
    for k in range(3):
        expected = mask_to_boundary(classes == k, width)
        np.testing.assert_array_equal(band & (classes == k), expected)


@settings(deadline=None, max_examples=50)
@given(maps, maps, st.sampled_from([0.01, 0.1, 0.2]))
def test_counts_equal_a_loop_over_pixels(label, prediction, dilation):
    label = np.where(label == 2, 255, label).astype(np.uint8)
    width = max(round(dilation * 15), 1)  # the diagonal of 9 x 12
    found = boundary_counts(label, prediction, 3, dilation)
    assert found.dtype == np.int64
    for k in range(3):
        true = mask_to_boundary(label == k, width)
        predicted = mask_to_boundary(prediction == k, width) & (label != 255)
        expected = [(true & predicted).sum(), true.sum(), predicted.sum()]
        assert found[k].tolist() == expected


def test_the_band_is_2_percent_of_the_diagonal_wide():
    """A prediction that is wrong everywhere has a band along the border alone: of 5 pixels in
    150 x 200, whose diagonal is 250."""
    label, prediction = np.zeros((150, 200), np.uint8), np.ones((150, 200), np.uint8)
    counts = boundary_counts(label, prediction, 2)
    assert counts.tolist() == [[0, 30000 - 140 * 190, 0], [0, 0, 30000 - 140 * 190]]


def test_the_mean_is_over_the_classes_that_are_defined():
    counts = np.array([[[4, 8, 4], [1, 2, 2], [0, 0, 0]], [[0, 0, 0]] * 3])
    assert boundary_iou(counts)[0] == pytest.approx([0.5, 1 / 3, np.nan], nan_ok=True)
    assert mean_boundary_iou(counts) == pytest.approx([5 / 12, np.nan], nan_ok=True)
    assert mean_boundary_iou(counts, [1, 2])[0] == 1 / 3
