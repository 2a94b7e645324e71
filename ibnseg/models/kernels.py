"""Moments of channels, and scaling and shifting them, by torch's fastest kernels for CPUs.

``torch.nn.functional.instance_norm`` takes three times as long as the kernel of GroupNorm with a
group for each channel, and ``torch.var_mean`` longer still. BN's kernel takes bfloat16, in which it
is faster, and channels-last tensors, for which GroupNorm's subtracts the squared mean from the mean
square.

Tensors are ``(N, C, H, W)``, floating point: channels-last ones, or some channels of a contiguous
one. Coefficients are ``(N, C)``, float32, or float64 for float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 2**19
"""The bytes that a thread reads at a time, so that what a kernel writes stays in its cache."""

aten = torch.ops.aten


def dense(x: Tensor) -> Tensor:
    """Returns a tensor that is contiguous or channels-last: the same if it is so already."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def is_channels_last(x: Tensor) -> bool:
    """Whether a tensor is channels-last, and not contiguous as well."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def planes_at_once(x: Tensor) -> int:
    """Returns how many channels of images the threads read at a time."""
    size = x.shape[2] * x.shape[3] * x.element_size()
    return max(1, CHUNK // size) * torch.get_num_threads()


def chunks(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cuts a tensor that is not channels-last into parts that stay in the threads' caches: some
    images, or some channels of one.

    Yields:
        The images and the channels of each part.
    """
    n, c = x.shape[:2]
    planes = planes_at_once(x)
    images = max(1, planes // c)
    for first in range(0, n, images):
        for channel in range(0, c, planes):
            yield slice(first, first + images), slice(channel, channel + planes)


def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes IN by the kernel of GroupNorm, for a tensor that is not channels-last.

    Returns:
        The normalised tensor; the mean and ``1 / sqrt(variance + eps)`` of each channel of each
        image, ``(N, C)``.
    """
    n, c, h, w = x.shape
    return torch.native_group_norm(x, weight, bias, n, c, h * w, c, eps)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, out: Tensor) -> Tensor:
    """Computes IN into a tensor, part by part.

    Args:
        x: what is normalised.
        weight, bias: ``(C,)``.
        eps: added to the variance.
        out: like ``x``, or ``x`` itself; it is returned.
    """
    if x.stride(1) == 1:  # channels-last; there, IN of an image is BN of a batch of one
        for image, target in zip(x.split(1), out.split(1), strict=True):
            image = image.contiguous(memory_format=torch.channels_last)
            normalised = torch.native_batch_norm(image, weight, bias, None, None, True, 0.0, eps)
            target.copy_(normalised[0])
        return out
    if x.shape[0] * x.shape[1] <= planes_at_once(x):
        return out.copy_(group_norm(x, weight, bias, eps)[0])
    for images, some in chunks(x):
        out[images, some] = group_norm(x[images, some], weight[some], bias[some], eps)[0]
    return out


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the mean and the biased variance of each channel of each image."""
    n, c, h, w = x.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    if is_channels_last(x) or x.dtype != exact:
        zeros, ones = (each(c, dtype=exact) for each in (torch.zeros, torch.ones))
        found = [torch.batch_norm_update_stats(image, zeros, ones, 0.0) for image in x.split(1)]
        mean, var = (torch.stack(each) for each in zip(*found, strict=True))
        return mean, var
    x = x.view(1, n * c, h, w) if x.is_contiguous() else x
    zeros, ones = (each(x.shape[1], dtype=exact) for each in (torch.zeros, torch.ones))
    found = []
    for images, some in chunks(x):
        _, *stats = group_norm(x[images, some], ones[some], zeros[some], 0.0)
        found.append(torch.cat(stats).view(2, -1))
    mean, reciprocal = torch.cat(found, dim=1).view(2, n, c)
    return mean, reciprocal.square_().reciprocal_()


def moments_of(x: Tensor, channels: slice) -> tuple[Tensor, Tensor]:
    """Computes the moments of some channels of a dense tensor, as fast as its layout allows."""
    if not is_channels_last(x):
        return moments(x[:, channels])
    mean, var = moments(x)
    return mean[:, channels], var[:, channels]


def scale_and_shift(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """Computes ``x * scale + shift`` by the kernel of BN with running statistics.

    Args:
        x: what is scaled.
        scale, shift: ``(N, C)``.
        out: like ``x``, or ``x`` itself; it is returned.
    """
    parts = zip(x.split(1), out.split(1), scale, shift, strict=True)
    if x.is_contiguous() and out.is_contiguous():
        whole = (1, scale.numel(), *x.shape[2:])
        parts = [(x.view(whole), out.view(whole), scale.reshape(-1), shift.reshape(-1))]
    for image, target, times, plus in parts:
        aten.native_batch_norm.out(
            image,
            times,
            plus,
            torch.zeros_like(times),  # mean
            torch.ones_like(times),  # variance
            False,
            0.0,
            0.0,
            out=target,
            save_mean=times.new_empty(0),
            save_invstd=times.new_empty(0),
        )
    return out


def sums_of_gradients(
    grad: Tensor, x: Tensor, mean: Tensor, reciprocal: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes for each channel of each image the sum of the gradient times the normalised input,
    and the sum of the gradient.

    Args:
        grad: the gradient of the output, in the layout of ``x``.
        x: the input, contiguous or channels-last.
        mean, reciprocal: the normalised input is ``(x - mean) * reciprocal``.
    """
    (n, c, h, w), only = x.shape, [False, True, True]
    if is_channels_last(x):
        ones = torch.ones_like(mean[0])
        images = zip(grad.split(1), x.split(1), mean, reciprocal, strict=True)
        found = [
            aten.native_batch_norm_backward(*pair, ones, None, None, m, r, True, 0.0, only)[1:]
            for *pair, m, r in images
        ]
        return tuple(torch.stack(each) for each in zip(*found, strict=True))
    whole, stats = (1, n * c, h, w), (mean.view(1, -1), reciprocal.view(1, -1))
    _, *found = aten.native_group_norm_backward(
        grad.view(whole),
        x.view(whole),
        *stats,
        torch.ones_like(stats[0][0]),
        1,
        n * c,
        h * w,
        n * c,
        only,
    )
    return tuple(each.view(n, c) for each in found)
