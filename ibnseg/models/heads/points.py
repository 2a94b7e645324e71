"""Values of masks at points: where they are sampled, and what masks and labels are there.

Points are ``(x, y)`` in [0, 1], from the left upper corner of an image to its right lower one, so
that the same points are sampled from maps of any resolution. Between pixels, values are bilinear;
beyond the centres of the outermost ones, theirs (Mask2Former, Cheng et al., CVPR 2022, which goes
to 0 there).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ibnseg.models.heads.mask_losses import at_least_tiny


def logits_at(maps: Tensor, points: Tensor) -> Tensor:
    """Interpolates maps at points.

    Args:
        maps: ``(M, C, h, w)``, floating point.
        points: ``(M, P, 2)``.

    Returns:
        ``(M, C, P)``.
    """
    height, width = maps.shape[2:]
    half = points.new_tensor([0.5 / width, 0.5 / height])
    inside = points.clamp(half, 1 - half)  # not every device has padding_mode="border"
    grid = (2 * inside - 1).unsqueeze(1).to(maps.dtype)
    return F.grid_sample(maps, grid, align_corners=False).squeeze(2)


class LabelsAt(NamedTuple):
    """The labels around points.

    Attributes:
        classes: ``(M, P, 4)`` int64, of the four pixels around each point.
        weights: ``(M, P, 4)`` float, those of bilinear interpolation; 0 for ignored pixels.
    """

    classes: Tensor
    weights: Tensor

    @property
    def counted(self) -> Tensor:
        """How much of a point is not ignored, ``(M, P)`` in [0, 1]."""
        return self.weights.sum(dim=-1)

    def share(self, classes: Tensor) -> Tensor:
        """Computes how much of each point's labelled part is of the row's class.

        Args:
            classes: ``(M,)`` int64.

        Returns:
            ``(M, P)`` in [0, 1]; 0 at ignored points.
        """
        return self._of(classes[:, None]) / at_least_tiny(self.counted)

    def shares(self, count: int) -> Tensor:
        """Computes how much of each point's labelled part is of each class.

        Args:
            count: number of classes K.

        Returns:
            ``(M, K, P)`` in [0, 1]; 0 at ignored points.
        """
        every = torch.arange(count, device=self.classes.device)[:, None]
        around = LabelsAt(self.classes.unsqueeze(1), self.weights.unsqueeze(1))
        return around._of(every) / at_least_tiny(around.counted)

    def _of(self, classes: Tensor) -> Tensor:
        """The weight of the pixels that are of classes, one pixel after another, because a mask of
        each would be large."""
        pairs = zip(self.weights.unbind(-1), self.classes.unbind(-1), strict=True)
        return sum(weight * (own == classes) for weight, own in pairs)


def labels_at(labels: Tensor, images: Tensor, points: Tensor, ignore_index: int = 255) -> LabelsAt:
    """Looks up the labels around points.

    A mask of each class, interpolated, is never made; the four labels around a point say the same.

    Args:
        labels: ``(N, H, W)`` int64 train ids.
        images: ``(M,)`` int64, the image that each row of points lies in.
        points: ``(M, P, 2)`` float.
        ignore_index: the label of pixels that do not count.
    """
    height, width = labels.shape[1:]
    columns, right = _neighbours(points[..., 0], width)
    rows, below = _neighbours(points[..., 1], height)
    places = (rows[..., :, None] * width + columns[..., None, :]).flatten(-2)
    classes = labels.flatten()[images[:, None, None] * (height * width) + places]
    weights = (_shares(below)[..., :, None] * _shares(right)[..., None, :]).flatten(-2)
    return LabelsAt(classes, weights * (classes != ignore_index))


def _pixels(labels: Tensor, images: Tensor, points: Tensor) -> Tensor:
    """The labels (M, P) of the pixels that points lie in."""
    height, width = labels.shape[1:]
    columns = (points[..., 0] * width).long().clamp_(max=width - 1)
    places = (points[..., 1] * height).long().clamp_(max=height - 1).mul_(width).add_(columns)
    return labels.flatten()[places.add_(images[:, None] * (height * width))]


def _neighbours(at: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The two pixels around coordinates in [0, 1] along an axis, ``(..., 2)`` int64, and how far it
    is from the first to the second."""
    place = (at * length - 0.5).clamp(0, length - 1)
    first = place.floor()
    both = torch.stack([first, (first + 1).clamp(max=length - 1)], dim=-1)
    return both.long(), place - first


def _shares(part: Tensor) -> Tensor:
    return torch.stack([1 - part, part], dim=-1)


def uncertain_points(
    masks: Tensor,
    labels: Tensor,
    images: Tensor,
    count: int,
    *,
    oversample: float = 3,
    importance: float = 0.75,
    ignore_index: int = 255,
) -> Tensor:
    """Draws points at which masks are uncertain, and some others.

    Of ``oversample * count`` random points those with logits next to 0 are taken, until they are
    ``importance * count``; the others are random (PointRend, Kirillov et al., CVPR 2020, section
    3.1, as Mask2Former uses it). Among the first, points in ignored pixels come last.

    Args:
        masks: ``(M, h, w)`` logits.
        labels: ``(N, H, W)`` int64 train ids.
        images: ``(M,)`` int64, the image of each mask.
        count: number of points P of a mask.
        oversample: how many times as many points are looked at, 1 or more.
        importance: share of the points that are uncertain ones, in [0, 1].
        ignore_index: the label of pixels that do not count.

    Returns:
        ``(M, P, 2)`` in [0, 1), in the dtype of ``masks``.
    """
    masks = masks.detach()
    uncertain = int(importance * count)
    drawn = torch.rand(
        len(masks), int(oversample * count), 2, dtype=masks.dtype, device=masks.device
    )
    certainty = logits_at(masks.unsqueeze(1), drawn).squeeze(1).abs()
    certainty.masked_fill_(_pixels(labels, images, drawn) == ignore_index, torch.inf)
    chosen = certainty.topk(uncertain, dim=1, largest=False, sorted=False).indices
    drawn = drawn.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    others = torch.rand(len(masks), count - uncertain, 2, dtype=masks.dtype, device=masks.device)
    return torch.cat([drawn, others], dim=1)
