"""Calibration: by hand, and against a float64 loop over pixels."""

import math

import numpy as np
import pytest
import torch

from ibnseg.evaluation.calibration import (
    BINS,
    calibration_counts,
    confidence,
    expected_calibration_error,
)


def test_counts_and_error_of_three_pixels_worked_by_hand():
    """Two pixels of confidence 0.9, one of them right; one of 0.5, right; one ignored.

    (|1 - 1.8| + |1 - 0.5|) / 3."""
    label = np.array([[0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    sure = np.array([[0.9, 0.9, 0.5, 1.0]], np.float32)
    counts = calibration_counts(label, prediction, sure)
    assert (counts.shape, counts.dtype) == ((BINS, 3), np.float64)
    assert counts[13] == pytest.approx([2, 1, 1.8])
    assert counts[7] == pytest.approx([1, 1, 0.5])
    assert counts.sum() == pytest.approx(3 + 2 + 2.3)
    assert expected_calibration_error(counts) == pytest.approx((0.8 + 0.5) / 3)


def test_bins_end_where_the_next_one_begins():
    """Bin b holds (b / B, (b + 1) / B]; 0 is in the first, 1 in the last."""
    sure = np.array([[0.0, 0.25, 0.250001, 0.5, 1.0]], np.float32)
    zeros = np.zeros((1, 5), np.uint8)
    assert calibration_counts(zeros, zeros, sure, bins=4)[:, 0].tolist() == [2, 2, 0, 1]


def test_the_error_equals_a_loop_over_pixels_in_float64():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 3, (5, 30, 40)))
    label = rng.integers(0, 5, (30, 40)).astype(np.uint8)
    label[rng.random((30, 40)) < 0.1] = 255
    prediction = logits.argmax(dim=0).numpy().astype(np.uint8)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for y in range(30):
        for x in range(40):
            if label[y, x] == 255:
                continue
            weights = [math.exp(z) for z in logits[:, y, x].tolist()]
            sure = max(weights) / math.fsum(weights)
            right = prediction[y, x] == label[y, x]
            bins.setdefault(math.ceil(sure * BINS) - 1, []).append((sure, bool(right)))
    total = sum(map(len, bins.values()))
    expected = sum(
        len(own)
        / total
        * abs(sum(r for _, r in own) / len(own) - sum(s for s, _ in own) / len(own))
        for own in bins.values()
    )
    counts = calibration_counts(label, prediction, confidence(logits))
    assert expected_calibration_error(counts) == pytest.approx(expected, abs=1e-7)


def test_confidence_of_many_rows_and_large_logits():
    """Rows are looked at in parts; softmax of large logits does not overflow."""
    logits = torch.zeros((3, 2500, 300))
    logits[1, ::2] = 200.0
    logits[1, 1::2] = math.log(2)
    found = confidence(logits.to(torch.bfloat16))
    assert found.dtype == np.float32
    assert np.unique(found[::2]).tolist() == [1.0]
    np.testing.assert_allclose(found[1::2], 0.5, atol=2e-3)


def test_stacks_are_scored_one_by_one():
    counts = np.random.default_rng(0).uniform(0, 9, (4, 2, BINS, 3))
    found = expected_calibration_error(counts)
    assert found.shape == (4, 2)
    assert found[3, 1] == expected_calibration_error(counts[3, 1])
    assert np.isnan(expected_calibration_error(np.zeros((BINS, 3))))
