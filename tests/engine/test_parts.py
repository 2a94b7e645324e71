"""A step is one of its whole batch, into however many parts it is cut."""

from __future__ import annotations

import pytest
import torch
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from ibnseg.engine.parts import LoggedMeans, SharedDivisors

WEIGHTS = [0.2, 3.0, 1.0]
CPU = torch.device("cpu")


def batch() -> tuple[Tensor, Tensor]:
    """(4, 3, 8, 8) float64 scores, and labels of which each image has its own share of void."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (4, 8, 8), generator=generator)
    for i, rows in enumerate((0, 7, 3, 8)):
        labels[i, :rows] = 255
    return scores, labels


def mean_of_parts(loss: nn.Module, scores: Tensor, labels: Tensor, parts: int) -> Tensor:
    """The loss of a step, as accumulating gradients makes it: the mean of the parts'."""
    divisors = SharedDivisors(loss, parts, CPU)
    cut = [slice(i, None, parts) for i in range(parts)]
    divisors.begin_step([[each.to(torch.uint8)[None] for each in labels[part]] for part in cut])
    values = []
    for i, part in enumerate(cut):
        divisors.begin_part(i)
        values.append(loss(scores[part], labels[part], ignore_index=255))
    divisors.remove()
    return sum(values) / parts


@pytest.mark.parametrize(
    "arguments",
    [
        dict(class_weight=WEIGHTS),
        dict(avg_non_ignore=True),
        dict(class_weight=WEIGHTS, loss_weight=0.4),
        dict(use_sigmoid=True, avg_non_ignore=True),
        dict(),  # divides by all pixels
    ],
)
def test_the_mean_of_parts_is_that_of_the_batch(arguments: dict) -> None:
    scores, labels = batch()
    loss = CrossEntropyLoss(**arguments)
    whole = loss(scores, labels, ignore_index=255)
    for parts in (1, 2, 4):
        cut = mean_of_parts(loss, scores, labels, parts)
        torch.testing.assert_close(cut, whole, rtol=1e-6, atol=0, check_dtype=False)
    # and afterwards the loss is as it was
    torch.testing.assert_close(loss(scores, labels, ignore_index=255), whole, rtol=0, atol=0)


def test_the_loss_of_a_batch_that_is_not_cut_keeps_its_bits() -> None:
    scores, labels = batch()
    loss = CrossEntropyLoss(avg_non_ignore=True)
    whole = loss(scores.float(), labels, ignore_index=255)
    assert torch.equal(mean_of_parts(loss, scores.float(), labels, 1), whole)


def test_labels_that_a_head_makes_keep_the_divisor_of_their_part() -> None:
    """E.g. only pixels where another head is sure."""
    scores, labels = batch()
    loss = CrossEntropyLoss(avg_non_ignore=True)
    divisors = SharedDivisors(loss, 2, CPU)
    divisors.begin_step([[each.to(torch.uint8)[None] for each in labels[i::2]] for i in (0, 1)])
    divisors.begin_part(0)
    own = labels[::2].clone()
    own[:, 5:] = 255
    got = loss(scores[::2], own, ignore_index=255)
    divisors.remove()
    torch.testing.assert_close(got, loss(scores[::2], own, ignore_index=255))


def test_a_part_that_is_all_void_adds_nothing() -> None:
    scores, labels = batch()
    labels[::2] = 255
    scores.requires_grad_()
    loss = CrossEntropyLoss(avg_non_ignore=True)
    mean_of_parts(loss, scores, labels, 2).backward()
    assert scores.grad.isfinite().all()
    assert (scores.grad[::2] == 0).all()


def test_what_a_part_lacks_counts_as_nothing_in_the_log() -> None:
    parts = [{"loss": torch.tensor(2.0), "extra": torch.tensor(3.0)}, {"loss": torch.tensor(4.0)}]
    assert LoggedMeans(CPU).mean(parts) == {"loss": 3.0, "extra": 1.5}
