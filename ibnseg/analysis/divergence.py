"""Feature divergence (Pan et al., "Two at Once", ECCV 2018, section 4.3): how far apart two sets of
images are in each layer of a network.

A channel's feature of an image is its mean over the image. Over a set of images it is taken as
Gaussian; the divergence of a channel is the symmetric KL divergence of its two Gaussians, that of a
layer the mean over its channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ibnseg.analysis.moments import FeatureMoments, Moments
from ibnseg.errors import UserError

EPSILON = 1e-8
"""The least variance of a channel; one whose variance is smaller counts as constant, and has this
one."""

CONFIDENCE = 0.95
"""Of the intervals."""

FEWEST_REPLICATES = 40
"""Without so many an interval's ends, at 2.5 and 97.5 %, would be the extremes."""


def symmetric_kl(
    mean_a: np.ndarray,
    std_a: np.ndarray,
    mean_b: np.ndarray,
    std_b: np.ndarray,
    epsilon: float = EPSILON,
) -> np.ndarray:
    """``KL(A||B) + KL(B||A)`` of Gaussians, in nats; the logarithms of the two cancel.

    Args:
        mean_a, std_a, mean_b, std_b: of one shape, or broadcast; population standard deviations.
        epsilon: the least variance, above 0.

    Returns:
        float64, 0 or more, and never NaN for finite input.
    """
    var_a = np.maximum(np.square(std_a, dtype=np.float64), epsilon)
    var_b = np.maximum(np.square(std_b, dtype=np.float64), epsilon)
    squared = np.square(np.subtract(mean_a, mean_b, dtype=np.float64))
    # (a/b + b/a) / 2 - 1 written so that nothing is lost where they are alike
    return (np.square(var_a - var_b) + squared * (var_a + var_b)) / (2 * var_a * var_b)


class LayerDivergence(NamedTuple):
    """The divergence of a layer between two sets, A and B."""

    layer: str
    channels: int
    divergence: float  # mean over all channels
    interval: tuple[float, float] | None  # of that, at CONFIDENCE; None where images are too few
    constant: tuple[tuple[int, ...], tuple[int, ...]]  # channels that are, in A and in B
    varying: float | None  # mean over the channels that are constant in neither; None without any


def divergence(a: FeatureMoments, b: FeatureMoments) -> list[LayerDivergence]:
    """The divergence of each layer between two sets of images.

    The interval is the basic bootstrap's of ``log(1 + D)``: ``2 log(1 + D) - log(1 + q)`` at the
    quantiles q of the replicates, and not below 0. A divergence of few images is larger than that
    of all, and a replicate's is larger by as much again: the basic interval takes that off, an
    interval between the replicates' quantiles would add it. So it may lie below D. Replicates in
    which a set has fewer than 2 different images are left out.

    Args:
        a, b: of the same network and replicates.

    Raises:
        UserError: for a set of fewer than 2 images.
        ValueError: for other layers or replicates.
    """
    for moments in (a, b):
        if moments.images < 2:
            raise UserError(f"a set of {moments.images} images has no variance; 2 at least")
    layers_a, layers_b = a.layers, b.layers
    if layers_a.keys() != layers_b.keys() or a.replicates != b.replicates:
        raise ValueError("moments of other layers or replicates")
    return [_of_layer(name, layers_a[name], layers_b[name]) for name in layers_a]


def _of_layer(name: str, a: Moments, b: Moments) -> LayerDivergence:
    of_channels = symmetric_kl(a.mean, np.sqrt(a.variance), b.mean, np.sqrt(b.variance))
    value, *replicates = of_channels.mean(axis=1)
    usable = np.minimum(a.images, b.images)[1:] >= 2
    constant = [moments.variance[0] < EPSILON for moments in (a, b)]
    varying = of_channels[0][~(constant[0] | constant[1])]
    return LayerDivergence(
        name,
        of_channels.shape[1],
        float(value),
        _interval(value, np.array(replicates)[usable]),
        tuple(tuple(np.flatnonzero(c).tolist()) for c in constant),
        float(varying.mean()) if len(varying) else None,
    )


def _interval(value: float, replicates: np.ndarray) -> tuple[float, float] | None:
    if len(replicates) < FEWEST_REPLICATES:
        return None
    tail = (1 - CONFIDENCE) / 2
    quantiles = np.quantile(replicates, (1 - tail, tail))
    ends = np.expm1(2 * np.log1p(value) - np.log1p(quantiles)).clip(min=0)
    return float(ends[0]), float(ends[1])
