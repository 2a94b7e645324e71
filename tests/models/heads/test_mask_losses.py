"""Losses of masks and classes against sums written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from ibnseg.models.heads.mask_losses import (
    NONE,
    class_cross_entropy,
    mask_cross_entropy,
    mask_dice,
)


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets and weights of three masks at five points; the last mask has no weight."""
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.rand(2, 3, 5, dtype=torch.float64)
    weights[0, 2] = 0
    weights[2] = 0
    return logits, targets, weights


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_cross_entropy_of_a_mask_is_a_weighted_mean_over_points(masks) -> None:
    logits, targets, weights = (each.tolist() for each in masks)
    expected = []
    for x, t, w in zip(logits[:2], targets, weights, strict=False):
        values = [
            -t[i] * math.log(sigmoid(x[i])) - (1 - t[i]) * math.log(1 - sigmoid(x[i]))
            for i in range(5)
        ]
        expected.append(sum(w[i] * values[i] for i in range(5)) / sum(w))
    assert mask_cross_entropy(*masks).tolist() == pytest.approx([*expected, 0])


def test_dice_adds_one_to_numerator_and_denominator(masks) -> None:
    logits, targets, weights = (each.tolist() for each in masks)
    expected = []
    for x, t, w in zip(logits, targets, weights, strict=True):
        s = [sigmoid(each) for each in x]
        both = sum(w[i] * s[i] * t[i] for i in range(5))
        either = sum(w[i] * (s[i] + t[i]) for i in range(5))
        expected.append(1 - (2 * both + 1) / (either + 1))
    assert mask_dice(*masks).tolist() == pytest.approx(expected)
    assert expected[2] == 0


def test_the_classes_weigh_one_and_no_object_a_tenth() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    targets = torch.tensor([[0, 4, 3], [4, NONE, 1]])
    expected = 0.0
    for n in range(2):
        for q in range(3):
            if targets[n, q] != NONE:
                row = logits[n, q].tolist()
                total = sum(map(math.exp, row))
                share = math.exp(row[int(targets[n, q])]) / total
                expected -= (0.1 if targets[n, q] == 4 else 1) * math.log(share)
    assert class_cross_entropy(logits, targets).item() == pytest.approx(expected)


def test_gradients_are_those_of_finite_differences(masks) -> None:
    logits, targets, weights = masks
    for loss in (mask_cross_entropy, mask_dice):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, targets, weights), (logits,))
        loss(logits, targets, weights).sum().backward()
    assert not logits.grad[weights == 0].any()
    classes = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    goals = torch.tensor([[0, 3, 2], [NONE, 3, 1]])
    assert torch.autograd.gradcheck(lambda x: class_cross_entropy(x, goals), (classes,))
