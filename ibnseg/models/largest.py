"""The class with the largest logit of each pixel, upsampling only the pixels where classes meet.

Bilinear interpolation is a weighted mean with weights of at least 0. Rounded arithmetic keeps the
order too: if one class has the largest logit at all four corners of a cell, no other class exceeds
it within the cell. So only the cells whose corners differ are interpolated, with the operations of
``F.interpolate`` in the same order, so that the same bits decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST_CLASSES = 255
"""A uint8 has one value more, which train ids keep for ignored pixels."""

MIXED = 255
"""Stands for the class where more than one may be the largest."""
_LONGEST = 32  # pixels of a band
_AT_ONCE = 1 << 19  # logits that are interpolated at once, so that they stay in the cache
_PLAIN = 128  # F.interpolate has another kernel up to this height + width
_PIXELS = 8  # of a logit, from which on tiles are faster, however many classes meet
_OVERFLOWS = 1e38  # from here on, means may become infinite


def upsampled_argmax(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Returns each pixel's class: that of the largest logit after bilinear upsampling, and among
    equal ones the first.

    No pixel differs from ``F.interpolate(logits, size, mode='bilinear').max(1).indices``. That call
    itself is made on accelerators, which take less than a millisecond for it, would have to wait
    for the count of tiles, and hold larger tensors in the network; in traced networks; and for
    logits that are not float32, or of which one is NaN (which ``max`` takes for the largest) or
    infinite. On CPUs, logits are made contiguous first. Whether the tiles' arithmetic is that of
    ``F.interpolate`` is tried once a process; if it is not, all logits are upsampled.

    Args:
        logits: (N, C, h, w) floating point, of 1 to 255 classes.
        size: (H, W) of the result. At (h, w) nothing is interpolated.
        align_corners: as of ``F.interpolate``.

    Returns:
        (N, H, W) uint8.

    Raises:
        ValueError: for logits of another shape or dtype, and for a size without pixels.
    """
    size = tuple(size)
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(
            f"expected logits (N, C, H, W) of floating point, got {logits.dtype} of shape "
            f"{tuple(logits.shape)}"
        )
    if not 1 <= logits.shape[1] <= MOST_CLASSES or 0 in logits.shape:
        raise ValueError(
            f"expected logits of 1 to {MOST_CLASSES} classes and at least one pixel, got shape "
            f"{tuple(logits.shape)}"
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"expected a size (height, width) above 0, got {size}")
    logits = logits.detach()
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if logits.device.type != "cpu" or logits.dtype != torch.float32 or is_traced:
        return _resized(logits, size, align_corners).max(dim=1).indices.to(torch.uint8)
    logits = logits.contiguous()
    if (
        size == tuple(logits.shape[2:])
        or sum(size) <= _PLAIN
        or math.prod(size) < _PIXELS * math.prod(logits.shape[2:])
        or not logits.abs().amax() < _OVERFLOWS
        or logits.is_contiguous(memory_format=torch.channels_last)  # as one pixel is in both orders
        or not _rounds_alike(logits.shape[1], align_corners)
    ):
        return torch.stack([argmax(each) for each in _resized(logits, size, align_corners)])
    return torch.stack([_upsampled_argmax(each, size, align_corners) for each in logits])


def argmax(values: Tensor) -> Tensor:
    """Returns the place of the largest value on the first axis, the first one of equal ones; it is
    ``values.max(0).indices``, a tenth of the time on CPUs.

    Args:
        values: (C, ...) floating point, C at most 255.

    Returns:
        (...) uint8.
    """
    values = values.detach()
    largest = values.amax(0)
    if values.device.type != "cpu" or values.dtype != torch.float32 or largest.isnan().any():
        return values.max(0).indices.to(torch.uint8)
    classes = len(values)
    found = torch.empty(largest.shape, dtype=torch.uint8)
    rank = np.arange(classes, 0, -1, dtype=np.uint8)[:, None]
    flat, tops, out = values.reshape(classes, -1).numpy(), largest.view(-1), found.view(-1)
    step = max(_AT_ONCE // classes, 1)
    for at in range(0, tops.numel(), step):
        part = slice(at, at + step)
        ranks = np.equal(flat[:, part], tops[part].numpy()).view(np.uint8)
        ranks *= rank
        out[part] = torch.from_numpy(classes - ranks.max(0))
    return found


def _upsampled_argmax(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Upsamples (C, h, w) finite float32 logits on the CPU; returns (H, W) uint8."""
    rows, columns = (
        _bands(*lengths, align_corners) for lengths in zip(logits.shape[1:], size, strict=True)
    )
    corners = sure_classes(logits)
    by_row = [corners[places] for places in (rows.low, rows.high)]
    first, *others = (row[:, places] for row in by_row for places in (columns.low, columns.high))
    mixed = first == MIXED
    for other in others:
        mixed |= other != first
    found = first.repeat_interleave(columns.lengths, 1).repeat_interleave(rows.lengths, 0)
    for pixels, means in _tiles(logits, rows, columns, mixed):
        found.view(-1)[pixels] = argmax(means)
    return found


def sure_classes(logits: Tensor) -> Tensor:
    """Returns the class with the largest logit of each place; :data:`MIXED` where the second
    largest is so near that rounding could make their means equal, for then the first one has to
    win.

    A mean of a mean takes four roundings, each of at most eps / 2 of the largest logit. Twice
    that, for the two classes, is 4 eps.

    Args:
        logits: (C, h, w) float32.

    Returns:
        (h, w) uint8.
    """
    largest = logits.amax(0)
    classes = argmax(logits)
    second = logits.scatter(0, classes[None].long(), -torch.inf).amax(0)
    limits = torch.finfo(logits.dtype)
    rounding = 16 * (limits.eps * logits.abs().max() + limits.tiny)
    return classes.masked_fill_(largest - second <= rounding, MIXED)


class _Bands(NamedTuple):
    """An axis of the result, cut into B bands of pixels that lie between the same two logits."""

    low: Tensor
    """(B,) int64, the place of the logit before the band's pixels."""
    high: Tensor
    """(B,) int64, the place of the logit after them."""
    lengths: Tensor
    """(B,) int64, in pixels."""
    pixels: Tensor
    """(P, B) int64; a band shorter than P repeats its last pixel."""
    of_low: Tensor
    """(P, B) float32, the weight of the logit before each pixel."""
    of_high: Tensor
    """(P, B) float32, of the one after it."""


def _bands(before: int, after: int, align_corners: bool) -> _Bands:
    """Cuts an axis of ``after`` pixels over ``before`` logits, with the places and weights that
    ATen's ``compute_source_index_and_lambda`` gives them (native/UpSample.h)."""
    place = torch.arange(after)
    if before == after:
        low, weight = place, torch.zeros(after)
    else:
        if align_corners:
            scale = torch.tensor(before - 1.0) / max(after - 1, 1)
            source = scale * place
        else:
            scale = torch.tensor(float(before)) / after
            source = torch.addcmul(torch.tensor(-0.5), place + 0.5, scale).clamp(min=0)
        low = source.long().clamp(max=before - 1)
        weight = (source - low).clamp(0, 1)
    high = low if before == after else (low + 1).clamp(max=before - 1)
    longest = min(-(-after // before), _LONGEST)
    begins = low.diff(prepend=low[:1] - 1) != 0
    since = place - torch.where(begins, place, 0).cummax(0).values
    start = (since % longest == 0).nonzero().flatten()
    lengths = start.diff(append=torch.tensor([after]))
    pixels = start + torch.minimum(torch.arange(longest)[:, None], lengths - 1)
    return _Bands(low[start], high[start], lengths, pixels, 1 - weight[pixels], weight[pixels])


def _tiles(
    logits: Tensor, rows: _Bands, columns: _Bands, wanted: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Interpolates the logits of the wanted tiles, some at a time.

    Args:
        logits: (C, h, w) float32.
        rows, columns: bands, each pair of which is a tile.
        wanted: (rows, columns) bool.

    Yields:
        The places of pixels in the flat result, (P, Q, T) int64, and their logits, (C, P, Q, T)
        float32. The tiles come last, so that all operations go along them.
    """
    width = int(columns.lengths.sum())
    flat = logits.flatten(1)
    tile = len(logits) * len(rows.pixels) * len(columns.pixels)
    for places in wanted.nonzero().split(max(_AT_ONCE // tile, 1)):
        across, along = places.unbind(1)
        left, right = columns.of_low[:, along], columns.of_high[:, along]
        means = []
        for row in (rows.low[across] * logits.shape[2], rows.high[across] * logits.shape[2]):
            ends = (flat[:, None, row + ends[along]] for ends in (columns.low, columns.high))
            means.append(_mean(next(ends), left, next(ends), right)[:, None])
        above, below = (of[:, across][:, None] for of in (rows.of_low, rows.of_high))
        pixels = rows.pixels[:, across][:, None] * width + columns.pixels[:, along]
        yield pixels, _mean(means[0], above, means[1], below)


def _mean(one: Tensor, weight: Tensor, other: Tensor, its_weight: Tensor) -> Tensor:
    """The weighted mean of two, rounded as ATen's: the first product is added unrounded if the
    processor can."""
    return torch.addcmul(other * its_weight, one, weight)


def _resized(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    if size == tuple(logits.shape[2:]):
        return logits
    return F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)


@cache
def _rounds_alike(classes: int, align_corners: bool) -> bool:
    """Whether tiles have the bits that F.interpolate gives, which depend on what the compiler made
    of it for this processor; three channels it treats in another way."""
    logits = torch.arange(classes * 11 * 13).view(1, classes, 11, 13).float().sin()
    for size in ((88, 104), (75, 61)):
        rows, columns = _bands(11, size[0], align_corners), _bands(13, size[1], align_corners)
        every = torch.ones(len(rows.low), len(columns.low), dtype=torch.bool)
        found = torch.empty(classes, *size)
        for pixels, means in _tiles(logits[0], rows, columns, every):
            found.flatten(1)[:, pixels] = means
        if not torch.equal(found, _resized(logits, size, align_corners)[0]):
            return False
    return True
