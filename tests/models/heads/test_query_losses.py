"""The loss of queries: which targets they get, what divides it, and what ignored pixels change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ibnseg.models.heads import query_losses as module
from ibnseg.models.heads.matching import Match
from ibnseg.models.heads.query_losses import QueryPrediction, class_targets, query_losses

CLASSES, QUERIES = 3, 4


def predictions(images: int, seed: int = 0, size: tuple[int, int] = (8, 8)) -> QueryPrediction:
    """Random classes; masks that are the same everywhere, so that any points give the same."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(images, QUERIES, CLASSES + 1, generator=generator, dtype=torch.float64)
    level = torch.randn(images, QUERIES, 1, 1, generator=generator, dtype=torch.float64)
    masks = level.expand(-1, -1, *size).clone()
    return QueryPrediction(classes.requires_grad_(), masks.requires_grad_())


def of_one_class(*classes: int) -> Tensor:
    """Labels of which each image has one class."""
    return torch.tensor(classes)[:, None, None].expand(-1, 16, 16).clone()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_one_query_of_an_image_gets_its_class_and_the_others_no_object() -> None:
    """The whole sum by hand: of the query that costs least, as all targets are 1."""
    prediction = predictions(2)
    found = query_losses([prediction], of_one_class(2, 0), points=10)
    of_class, weights, of_mask, of_dice = 0.0, 0.0, 0.0, 0.0
    for n, k in enumerate((2, 0)):
        costs = []
        for q in range(QUERIES):
            row = [math.exp(each) for each in prediction.classes[n, q].tolist()]
            x = prediction.masks[n, q, 0, 0].item()
            share = 1 / (1 + math.exp(-x))
            mask, dice = softplus(-x), 1 - (2 * 10 * share + 1) / (10 * share + 10 + 1)
            costs.append((-2 * row[k] / sum(row) + 5 * mask + 5 * dice, row, mask, dice))
        best = min(range(QUERIES), key=lambda q: costs[q][0])
        for q, (_, row, mask, dice) in enumerate(costs):
            target, weight = (k, 1) if q == best else (CLASSES, 0.1)
            of_class -= weight * math.log(row[target] / sum(row))
            weights += weight
            if q == best:
                of_mask, of_dice = of_mask + mask, of_dice + dice
    assert found["loss_class"].item() == pytest.approx(2 * of_class / weights)
    assert found["loss_mask"].item() == pytest.approx(5 * of_mask / 2)
    assert found["loss_dice"].item() == pytest.approx(5 * of_dice / 2)


def test_each_prediction_is_matched_by_itself_and_their_losses_are_summed() -> None:
    several, labels = [predictions(2, seed) for seed in range(3)], of_one_class(1, 1)
    together = query_losses(several, labels, points=5)
    apart = [query_losses([each], labels, points=5) for each in several]
    for name, value in together.items():
        assert value.item() == pytest.approx(sum(each[name].item() for each in apart))


def test_right_classes_and_masks_cost_almost_nothing() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, :, 16:] = 2
    classes = torch.full((1, QUERIES, CLASSES + 1), -20.0)
    classes[0, :, CLASSES] = 20
    classes[0, 1, [0, CLASSES]] = torch.tensor([20.0, -20.0])
    classes[0, 3, [2, CLASSES]] = torch.tensor([20.0, -20.0])
    masks = torch.full((1, QUERIES, 32, 32), -20.0)
    masks[0, 1, :, :16] = 20
    masks[0, 3, :, 16:] = 20
    right = query_losses([QueryPrediction(classes, masks)], labels, points=2000)
    # along the edge, where uncertain points are, an interpolated label is no longer 0 or 1
    assert right["loss_class"].item() < 1e-6
    assert right["loss_mask"].item() + right["loss_dice"].item() < 1.5
    empty = torch.full_like(masks, -20)
    wrong = query_losses([QueryPrediction(classes, empty)], labels, points=2000)
    assert wrong["loss_mask"].item() > 20


def test_what_is_predicted_in_ignored_pixels_changes_nothing() -> None:
    """Neither a loss nor a gradient; only what is interpolated at the border of the void counts."""
    labels = of_one_class(1)
    labels[0, :8, :8] = 2
    labels[0, 8:] = 255
    found = []
    for value in (-3.0, 0.0, 7.0):
        torch.manual_seed(0)
        prediction = predictions(1, size=(16, 16))
        with torch.no_grad():
            prediction.masks[:, :, 9:] = value
        losses = query_losses([prediction], labels, points=200)
        sum(losses.values()).backward()
        assert not prediction.masks.grad[:, :, 9:].any()
        assert prediction.masks.grad[:, :, :8].any()
        found.append({name: loss.item() for name, loss in losses.items()})
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])


def test_an_image_that_is_ignored_as_a_whole_gives_no_loss() -> None:
    prediction, labels = predictions(2), of_one_class(1, 255)
    both = query_losses([prediction], labels, points=5)
    sum(both.values()).backward()
    assert not prediction.classes.grad[1].any()
    assert not prediction.masks.grad[1].any()
    first = query_losses([QueryPrediction(*(each[:1] for each in prediction))], labels[:1], 5)
    for name, value in both.items():
        assert value.item() == pytest.approx(first[name].item())
    alone = predictions(1)
    nothing = query_losses([alone], of_one_class(255), points=5)
    assert [value.item() for value in nothing.values()] == [0, 0, 0]
    sum(nothing.values()).backward()  # all processes need gradients, if only of 0
    assert not alone.masks.grad.any()
    assert not alone.classes.grad.any()


def test_two_processes_give_the_mean_of_one(monkeypatch) -> None:
    """Their images have different numbers of classes; the gradients are averaged over them."""
    prediction, labels = predictions(2), of_one_class(1, 0)
    labels[1, :8] = 2
    whole = query_losses([prediction], labels, points=400)
    parts = [QueryPrediction(*(each[i : i + 1] for each in prediction)) for i in range(2)]
    sums = []
    monkeypatch.setattr(module, "all_reduce", lambda both: sums.append(both.clone()))
    for i in range(2):
        query_losses([parts[i]], labels[i : i + 1], points=400)
    monkeypatch.setattr(module, "all_reduce", lambda both: both.copy_(sums[0] + sums[1]))
    monkeypatch.setattr(module, "get_world_size", lambda: 2)
    of_parts = [query_losses([parts[i]], labels[i : i + 1], points=400) for i in range(2)]
    for name, value in whole.items():
        mean = sum(each[name].item() for each in of_parts) / 2
        # the points of the second image, of two classes, are others
        assert mean == pytest.approx(value.item(), rel=1e-9 if name == "loss_class" else 0.1)


def test_targets_are_no_object_except_where_a_query_is_matched() -> None:
    match = Match(torch.tensor([0, 0]), torch.tensor([3, 1]), torch.tensor([0, 2]))
    targets = class_targets(match, torch.tensor([True, False]), QUERIES, CLASSES + 1)
    assert targets.tolist() == [[3, 2, 3, 0], [-1] * 4]


def test_gradients_are_those_of_finite_differences() -> None:
    labels = of_one_class(1)
    labels[0, :5] = 0
    labels[0, :3, :3] = 255

    def total(classes: Tensor, masks: Tensor) -> Tensor:
        torch.manual_seed(0)
        return sum(query_losses([QueryPrediction(classes, masks)], labels, points=8).values())

    torch.manual_seed(1)
    classes = torch.randn(1, 3, CLASSES + 1, dtype=torch.float64, requires_grad=True)
    masks = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, (classes, masks))
