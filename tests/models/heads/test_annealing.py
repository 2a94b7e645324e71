"""Masked attention: when it fades, and what a query sees."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub

from ibnseg.models.heads.annealing import (
    attention_mask,
    default_spans,
    masked_share,
    progress,
)

STEPS = 19902  # EoMT on Cityscapes: 107 epochs of 186 steps


@pytest.mark.parametrize(
    ("blocks", "starts"), [(4, [3317, 6634, 9951, 13268]), (3, [3317, 8292.5, 13268]), (1, [3317])]
)
def test_by_default_attention_fades_when_it_does_in_eomt(blocks: int, starts: list[float]) -> None:
    spans = default_spans(blocks)
    assert [start * STEPS for start, _ in spans] == pytest.approx(starts)
    assert [end * STEPS for _, end in spans] == pytest.approx([s + 3317 for s in starts])


def test_the_masked_share_falls_from_one_to_none_within_its_span() -> None:
    span = (0.25, 0.75)
    assert [masked_share(p, span) for p in (0, 0.2, 0.25)] == [1, 1, 1]
    assert masked_share(0.5, span) == pytest.approx(0.5**0.9)
    assert 0 < masked_share(0.75 - 1e-9, span) < 1e-6
    assert [masked_share(p, span) for p in (0.75, 0.9, 1)] == [0, 0, 0]
    assert [masked_share(p, (0.5, 0.5)) for p in (0.49, 0.5)] == [1, 0]
    assert masked_share(0, (0, 0)) == 0


def test_progress_is_that_of_the_run_that_trains(monkeypatch) -> None:
    hub = MessageHub.get_instance("annealing")
    monkeypatch.setattr(MessageHub, "get_current_instance", lambda: hub)
    assert progress() == 0
    hub.update_info_dict(dict(loop_stage="train", iter=30, max_iters=120))
    assert progress() == 0.25
    hub.pop_info("loop_stage")  # what mmengine does at the end
    assert progress() == 0


def test_a_masked_query_sees_the_patches_of_its_mask_and_all_that_is_no_patch() -> None:
    masks = torch.full((1, 3, 4, 8), -1.0)
    masks[0, 0, :, :4] = 1  # the left half; of the second nothing; of the third
    masks[0, 2, 2:, 6:] = 3  # the lower right patch
    allowed = attention_mask(masks, (2, 4), 2, 1)
    assert allowed.shape == (1, 1, 13, 13)
    assert allowed.dtype == torch.bool
    rows = allowed[0, 0]
    assert rows[:10].all()  # prefix and patches see everything
    assert rows[10:, :2].all()
    assert rows[10:, 10:].all()
    patches = rows[10:, 2:10].reshape(3, 2, 4).int()
    assert patches[0].tolist() == [[1, 1, 0, 0]] * 2
    assert not patches[1].any()
    assert patches[2].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_no_token_is_left_with_nothing_to_attend_to() -> None:
    """Even without a prefix, and with empty masks; then attention has no NaN, nor its gradient."""
    allowed = attention_mask(torch.full((2, 3, 4, 4), -9.0), (2, 2), 0, 1)
    assert allowed.any(dim=-1).all()
    tokens = torch.randn(2, 1, 7, 4, requires_grad=True)
    out = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, allowed)
    out.sum().backward()
    assert out.isfinite().all()
    assert tokens.grad.isfinite().all()


def test_a_share_of_the_queries_is_masked_drawn_anew_for_each_image() -> None:
    torch.manual_seed(0)
    masks = torch.full((40, 50, 2, 2), -1.0)
    allowed = attention_mask(masks, (1, 1), 0, 0.3)
    is_masked = ~allowed[:, 0, 1:, 0]
    assert is_masked.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert not torch.equal(is_masked[0], is_masked[1])
    assert attention_mask(masks, (1, 1), 0, 0) is None


def test_attention_masks_carry_no_gradient() -> None:
    masks = torch.randn(1, 2, 2, 2, requires_grad=True)
    assert not attention_mask(masks, (1, 1), 1, 1).requires_grad
