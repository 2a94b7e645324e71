"""The classes of upsampled logits against those of all upsampled logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ibnseg.datasets.labels import CITYSCAPES_IDS, lookup_table
from ibnseg.models import largest
from ibnseg.models.largest import argmax, upsampled_argmax
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from tests.models.cases import case


def plainly(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """The classes of all logits, upsampled."""
    if tuple(logits.shape[2:]) != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)
    return logits.max(1).indices


def assert_same(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    found = upsampled_argmax(logits, size, align_corners)
    assert (found.dtype, found.shape) == (torch.uint8, (len(logits), *size))
    assert torch.equal(found.long(), plainly(logits, size, align_corners))
    return found


@pytest.fixture
def never_plainly(monkeypatch) -> None:
    """Fails if all logits are upsampled."""
    for align_corners in (False, True):
        assert largest._rounds_alike(4, align_corners)
    monkeypatch.setattr(F, "interpolate", lambda *_, **__: pytest.fail("all logits are upsampled"))


KINDS = ("regions", "noise", "ties", "near ties", "huge", "tiny")


def logits_of(kind: str, shape: tuple[int, ...], seed: int) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if kind == "regions":
        height, width = shape[2:]
        coarse = noise[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
        return 5 * coarse[..., :height, :width] + noise / 10
    if kind == "ties":
        return noise.round()
    if kind == "near ties":
        return 1 + noise.round() * torch.finfo(torch.float32).eps
    return noise * {"noise": 1, "huge": 1e37, "tiny": 1e-39}[kind]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 5, 19])),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 140), st.integers(1, 140)),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_no_pixel_differs_from_upsampling_all_logits(kind, ahead, small, size, align_corners, seed):
    assert_same(logits_of(kind, ahead + small, seed), size, align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
def test_all_processors_kinds_of_arithmetic_are_known(align_corners):
    """Otherwise predictions are as slow as they were, and no other test would tell."""
    for classes in (2, 4, 19, 255):
        with case(classes=classes):
            assert largest._rounds_alike(classes, align_corners)


@pytest.mark.parametrize("kind", KINDS)
def test_only_tiles_are_upsampled(never_plainly, kind):
    logits = logits_of(kind, (2, 4, 8, 9), 0)
    assert upsampled_argmax(logits, (64, 80)).shape == (2, 64, 80)


def test_a_street_of_real_size_gives_the_same_train_ids():
    ids = rasterise(draw_layout(1), 256, 128).labels
    label = torch.from_numpy(lookup_table(CITYSCAPES_IDS)[ids]).long()
    scores = F.one_hot(label, 256)[..., :19].float().permute(2, 0, 1)[None]
    smooth = 10 * F.avg_pool2d(scores, 3, stride=1, padding=1)
    found = assert_same(smooth, (1024, 2048))
    assert len(found.unique()) > 10


def test_the_first_of_equal_classes_wins(never_plainly):
    for winner in (0, 2, 3):
        with case(winner=winner):
            logits = torch.zeros(1, 4, 6, 6)
            logits[:, winner:] = 1
            assert (upsampled_argmax(logits, (70, 70)) == winner).all()


def test_nan_and_infinite_logits_win_as_in_max():
    for value in (np.nan, np.inf, -np.inf):
        with case(value=value):
            logits = logits_of("regions", (2, 4, 8, 8), 0)
            logits[1, 2, 3:5, 4] = value
            found = assert_same(logits, (80, 90))
            assert_same(logits, (8, 8))
            if not value < 0:
                assert (found[1] == 2).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_another_precision_are_upsampled_as_they_are(dtype):
    assert_same(logits_of("ties", (1, 4, 8, 8), 0).to(dtype), (80, 90))
    assert_same(logits_of("ties", (1, 4, 8, 8), 0).to(dtype), (8, 8))


def test_logits_in_another_order_or_with_gradients_give_the_same():
    logits = logits_of("ties", (2, 4, 8, 8), 0)
    expected = upsampled_argmax(logits, (80, 90))
    for name, other in [
        ("channels last", logits.to(memory_format=torch.channels_last)),
        ("transposed", logits.transpose(2, 3).contiguous().transpose(2, 3)),
        ("with gradients", logits.clone().requires_grad_()),
        ("a view", F.pad(logits, (1, 1))[..., 1:-1]),
    ]:
        with case(name=name):
            assert torch.equal(upsampled_argmax(other, (80, 90)), expected)


def test_traced_networks_upsample_all_logits():
    class Network(torch.nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return upsampled_argmax(logits, (80, 90))

    logits = logits_of("ties", (1, 4, 8, 8), 0)
    expected = Network()(logits)
    exported = torch.export.export(Network(), (logits,)).module()
    assert torch.equal(exported(logits), expected)


def test_wrong_logits_and_sizes_are_refused():
    for logits, size, words in [
        (torch.zeros(4, 8, 8), (80, 90), "shape"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), (80, 90), "floating point"),
        (torch.zeros(1, 256, 2, 2), (80, 90), "255 classes"),
        (torch.zeros(1, 0, 2, 2), (80, 90), "classes"),
        (torch.zeros(1, 4, 0, 2), (80, 90), "pixel"),
        (torch.zeros(1, 4, 2, 2), (0, 90), "size"),
        (torch.zeros(1, 4, 2, 2), (80,), "size"),
    ]:
        with case(shape=logits.shape, size=size), pytest.raises(ValueError, match=words):
            upsampled_argmax(logits, size)


@pytest.mark.parametrize("classes", [1, 2, 19, 255])
def test_argmax_takes_the_first_of_the_largest(classes):
    values = torch.randn(classes, 30, 40, generator=torch.Generator().manual_seed(0)).round()
    for name, each in [("contiguous", values), ("a view", values[:, ::2, 3:])]:
        with case(name=name):
            found = argmax(each)
            assert found.dtype == torch.uint8
            assert torch.equal(found.long(), each.max(0).indices)
