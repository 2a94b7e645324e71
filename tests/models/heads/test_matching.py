"""Matching of queries with classes against costs by loops and all permutations."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from ibnseg.models.heads.mask_losses import mask_cross_entropy, mask_dice
from ibnseg.models.heads.matching import matches, pair_costs, present
from ibnseg.support.errors import UserError

IMAGES, QUERIES, CLASSES, POINTS = 2, 4, 3, 6


def test_costs_are_those_of_class_cross_entropy_and_dice() -> None:
    """2 times the negative probability, 5 times cross entropy, 5 times dice, pair by pair."""
    torch.manual_seed(0)
    classes = torch.randn(IMAGES, QUERIES, CLASSES + 1, dtype=torch.float64)
    masks = torch.randn(IMAGES, QUERIES, POINTS, dtype=torch.float64)
    targets = torch.rand(IMAGES, CLASSES, POINTS, dtype=torch.float64)
    counted = torch.rand(IMAGES, POINTS, dtype=torch.float64)
    counted[:, 0] = 0
    found = pair_costs(classes, masks, targets, counted)
    assert found.shape == (IMAGES, QUERIES, CLASSES)
    for n in range(IMAGES):
        for q in range(QUERIES):
            row = [math.exp(each) for each in classes[n, q].tolist()]
            for k in range(CLASSES):
                pair = masks[n, q][None], targets[n, k][None], counted[n][None]
                expected = -2 * row[k] / sum(row)
                expected += 5 * mask_cross_entropy(*pair).item() + 5 * mask_dice(*pair).item()
                assert found[n, q, k].item() == pytest.approx(expected)


def test_costs_without_any_counted_point_are_those_of_the_class() -> None:
    classes, nothing = torch.randn(1, 2, 4), torch.zeros(1, 5)
    found = pair_costs(classes, torch.randn(1, 2, 5), torch.zeros(1, 3, 5), nothing)
    torch.testing.assert_close(found, -2 * classes.softmax(-1)[..., :3])


def ids_of(*images: list[int]) -> torch.Tensor:
    ids = torch.zeros(len(images), 256, dtype=torch.bool)
    for row, found in zip(ids, images, strict=True):
        row[found] = True
    return ids


def test_no_other_assignment_costs_less() -> None:
    torch.manual_seed(0)
    costs = torch.randn(3, 2, QUERIES, CLASSES)
    there = [[0, 2], [0, 1, 2]]
    found = matches(costs, ids_of([0, 2, 255], [0, 1, 2]))
    assert len(found) == 3
    for prediction, match in zip(costs, found, strict=True):
        assert match.images.tolist() == [0, 0, 1, 1, 1]
        for n, classes in enumerate(there):
            own = match.images == n
            assert sorted(match.classes[own].tolist()) == classes
            queries = match.queries[own].tolist()
            assert len({*queries}) == len(classes)
            cost = prediction[n].numpy()
            least = min(
                cost[list(chosen), classes].sum()
                for chosen in permutations(range(QUERIES), len(classes))
            )
            assert cost[queries, match.classes[own]].sum() == pytest.approx(least)


def test_images_without_labels_match_nothing() -> None:
    (match,) = matches(torch.randn(1, 2, 3, 2), ids_of([255], []))
    assert [len(each) for each in match] == [0, 0, 0]


def test_costs_of_a_diverged_network_are_matched_anyhow() -> None:
    """Its losses are not finite, which the training loop reports with what to do."""
    costs = torch.full((1, 1, 3, 2), torch.nan)
    (match,) = matches(costs, ids_of([0, 1]))
    assert sorted(match.classes.tolist()) == [0, 1]


def test_labels_that_are_no_class_are_refused() -> None:
    with pytest.raises(UserError, match=r"train ids \[5\], but the head has 3 classes; set"):
        matches(torch.zeros(1, 1, 4, 3), ids_of([0, 5, 255]))


def test_ids_of_each_image_are_found() -> None:
    labels = torch.tensor([[[0, 7], [255, 7]], [[1, 1], [1, 1]]])
    found = present(labels).numpy()
    assert [np.flatnonzero(row).tolist() for row in found] == [[0, 7, 255], [1]]
