"""Values of masks and labels at points against sums written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ibnseg.models.heads.points import labels_at, logits_at, uncertain_points

VOID = 255


def corners(x: float, y: float, height: int, width: int) -> list[tuple[int, int, float]]:
    """Row, column and weight of the four pixels around a point; outside, the nearest pixel."""
    found = []
    column, row = x * width - 0.5, y * height - 0.5
    for r, of_row in ((math.floor(row), 1 - row % 1), (math.floor(row) + 1, row % 1)):
        for c, of_column in (
            (math.floor(column), 1 - column % 1),
            (math.floor(column) + 1, column % 1),
        ):
            inside = min(max(r, 0), height - 1), min(max(c, 0), width - 1)
            found.append((*inside, of_row * of_column))
    return found


@pytest.fixture
def points() -> torch.Tensor:
    """Random ones, and those at corners and edges of the image."""
    torch.manual_seed(0)
    edges = [[0, 0], [1, 1], [0, 0.5], [0.5, 1], [0.03, 0.97]]
    extreme = torch.tensor(edges, dtype=torch.float64).expand(2, -1, -1)
    return torch.cat([torch.rand(2, 40, 2, dtype=torch.float64), extreme], dim=1)


def test_logits_are_bilinear_and_constant_beyond_the_outermost_centres(points) -> None:
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    found = logits_at(maps, points)
    for m in range(2):
        for p, (x, y) in enumerate(points[m].tolist()):
            expected = sum(w * maps[m, :, r, c] for r, c, w in corners(x, y, 5, 7))
            torch.testing.assert_close(found[m, :, p], expected)
    grid = 2 * points.unsqueeze(1) - 1
    inside = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(found, inside.squeeze(2))


def test_shares_of_classes_leave_out_ignored_pixels(points) -> None:
    """Each is the class's part of what is labelled around a point."""
    labels = torch.randint(0, 3, (2, 6, 9))
    labels[torch.rand(labels.shape) < 0.4] = VOID
    images = torch.tensor([1, 0])
    at = labels_at(labels, images, points)
    shares = at.shares(3)
    assert shares.shape == (2, 3, 45)
    for m in range(2):
        for p, (x, y) in enumerate(points[m].tolist()):
            around = corners(x, y, 6, 9)
            of = [0.0] * 256
            for r, c, w in around:
                of[int(labels[images[m], r, c])] += w
            counted = 1 - of[VOID]
            assert at.counted[m, p] == pytest.approx(counted, abs=1e-12)
            for k in range(3):
                expected = of[k] / counted if counted > 1e-12 else 0
                assert shares[m, k, p] == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(at.share(torch.tensor([2, 0])), shares[[0, 1], [2, 0]])
    assert (at.counted == 0).any()
    assert ((at.counted > 0) & (at.counted < 1)).any()


def test_shares_equal_interpolated_masks_where_nothing_is_ignored() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 8, 6))
    points = torch.rand(2, 50, 2, dtype=torch.float64)
    masks = F.one_hot(labels, 4).permute(0, 3, 1, 2).double()
    found = labels_at(labels, torch.arange(2), points).shares(4)
    torch.testing.assert_close(found, logits_at(masks, points))


def test_three_quarters_of_the_points_are_where_a_mask_is_uncertain() -> None:
    torch.manual_seed(0)
    steps = torch.linspace(-8, 8, 64)
    masks = torch.stack([steps.expand(64, 64), steps[:, None].expand(64, 64)])
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    images = torch.tensor([0, 0])
    points = uncertain_points(masks, labels, images, 400)
    assert points.shape == (2, 400, 2)
    assert points.min() >= 0
    assert points.max() < 1
    certainty = logits_at(masks.unsqueeze(1), points).squeeze(1).abs()
    # the 300 of 1200 uniform ones that are nearest to 0 lie in the middle quarter, up to 2
    assert certainty[:, :300].max() < 2.5
    assert certainty[:, 300:].mean() == pytest.approx(4, abs=0.5)


def test_uncertain_points_avoid_ignored_pixels_as_long_as_others_are_left() -> None:
    torch.manual_seed(0)
    labels = torch.full((1, 16, 16), VOID)
    labels[:, :8] = 1
    masks = torch.zeros(1, 16, 16)
    masks[:, :8] = 5  # the masks are uncertain in the ignored half alone
    images = torch.tensor([0])
    points = uncertain_points(masks, labels, images, 200, importance=0.25)
    assert (labels_at(labels, images, points).counted[:, :50] > 0).all()
    labels[:] = VOID
    assert uncertain_points(masks, labels, images, 200).shape == (1, 200, 2)
