"""Feature divergence (Pan et al., "Two at Once", ECCV 2018, section 4.3): how far apart two sets of
images are in each layer of a network.

A channel's feature for an image is its mean over the image. Over a set of images it is taken as
Gaussian. The divergence of a channel is the symmetric KL divergence of its two Gaussians, and that
of a layer is the mean over its channels. With means m and population standard deviations s::

    KL(A||B) = log(s_B / s_A) + (s_A^2 + (m_A - m_B)^2) / (2 s_B^2) - 1/2
    D(A, B) = KL(A||B) + KL(B||A)

The paper's equation 1 is printed garbled in the text that circulates; this is what its words say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ibnseg.analysis.divergence.moments import FeatureMoments, Moments
from ibnseg.report.statistics import Interval, Scores, Spread, combine, interval
from ibnseg.support.errors import UserError

EPSILON = 1e-8
"""The least variance of a channel; a channel whose variance is smaller counts as constant, and is
given this variance."""

FEWEST_REPLICATES = 40
"""The least number of usable replicates from which an interval is made."""


def symmetric_kl(
    mean_a: np.ndarray,
    std_a: np.ndarray,
    mean_b: np.ndarray,
    std_b: np.ndarray,
    epsilon: float = EPSILON,
) -> np.ndarray:
    """Computes ``KL(A||B) + KL(B||A)`` of Gaussians, in nats; the logarithms of the two cancel.

    Args:
        mean_a, std_a, mean_b, std_b: means and population standard deviations, of one shape or
            broadcast.
        epsilon: the least variance, above 0.

    Returns:
        float64, 0 or more, and never NaN for finite input.
    """
    var_a = np.maximum(np.square(std_a, dtype=np.float64), epsilon)
    var_b = np.maximum(np.square(std_b, dtype=np.float64), epsilon)
    squared = np.square(np.subtract(mean_a, mean_b, dtype=np.float64))
    # (a/b + b/a) / 2 - 1, written so that no digits are lost if the variances are alike
    return (np.square(var_a - var_b) + squared * (var_a + var_b)) / (2 * var_a * var_b)


@dataclass(frozen=True)
class LayerDivergence:
    """The divergence of a layer between two sets, A and B."""

    layer: str
    channels: int
    divergence: float
    """Mean over all channels, in nats."""
    constant: tuple[tuple[int, ...], tuple[int, ...]]
    """Indices of the channels that are constant in A, and of those that are constant in B."""
    varying: float | None
    """Mean over the channels that are constant in neither set; None if there are none."""
    images: int
    """The number of images in the smaller set."""
    replicates: np.ndarray = field(compare=False, repr=False)
    """(R,) float64, the divergence in each replicate of the bootstrap; NaN where a set has fewer
    than 2 different images in it."""

    @property
    def interval(self) -> Interval | None:
        """The interval for other images, as :func:`over_seeds` makes it; None if there are too few
        images."""
        return over_seeds({0: self}).interval


class Estimate(NamedTuple):
    """A value over the trainings of a network, and its interval, None if there are too few
    images."""

    value: float
    interval: Interval | None


def divergence(a: FeatureMoments, b: FeatureMoments) -> list[LayerDivergence]:
    """Computes the divergence of each layer between two sets of images.

    Args:
        a, b: moments of the same network, with the same number of replicates.

    Raises:
        UserError: for a set of fewer than 2 images.
        ValueError: for other layers or replicates.
    """
    for moments in (a, b):
        if moments.images < 2:
            raise UserError(f"a set of {moments.images} images has no variance; expected 2 or more")
    layers_a, layers_b = a.layers, b.layers
    if layers_a.keys() != layers_b.keys() or a.replicates != b.replicates:
        raise ValueError("moments of other layers or replicates")
    images = min(a.images, b.images)
    return [_of_layer(name, layers_a[name], layers_b[name], images) for name in layers_a]


def _of_layer(name: str, a: Moments, b: Moments, images: int) -> LayerDivergence:
    of_channels = symmetric_kl(a.mean, np.sqrt(a.variance), b.mean, np.sqrt(b.variance))
    value, *replicates = of_channels.mean(axis=1)
    usable = np.minimum(a.images, b.images)[1:] >= 2
    constant = [moments.variance[0] < EPSILON for moments in (a, b)]
    varying = of_channels[0][~(constant[0] | constant[1])]
    return LayerDivergence(
        name,
        of_channels.shape[1],
        float(value),
        tuple(tuple(np.flatnonzero(c).tolist()) for c in constant),
        float(varying.mean()) if len(varying) else None,
        images,
        np.where(usable, replicates, np.nan),
    )


def over_seeds(layers: Mapping[int | None, LayerDivergence]) -> Estimate:
    """Averages the divergence of a layer over the trainings of one network.

    The value is ``exp(mean of log(1 + D)) - 1``, which is D for a single training. The interval is
    for other images, and with several trainings also for other trainings.

    The divergence of few images is larger than that of all, and a replicate's is larger by as much
    again. The interval corrects that: it is :func:`ibnseg.report.statistics.interval` of
    ``2 log(1 + D)`` less the mean of the replicates' ``log(1 + D)``, and not below 0. So it may lie
    below the value.

    Args:
        layers: the same layer in each training, by the training's seed, with the same images and
            replicates.
    """
    scores, value = _scores(layers)
    found = interval(scores)
    ends = found and Interval(*np.expm1(found).clip(min=0).tolist())
    return Estimate(float(np.expm1(value.mean())), ends)


def ratio(
    layers: Mapping[int | None, LayerDivergence], others: Mapping[int | None, LayerDivergence]
) -> Estimate | None:
    """Compares a layer's ``1 + D`` with another network's, as a ratio, over the seeds that both
    have; paired by seeds and images.

    The value is the geometric mean of the ratios. The interval is that of the mean of their
    logarithms, made as in :func:`over_seeds`. The ratio is not of D itself: if that is near 0, its
    logarithm is mostly what few images add.

    Args:
        layers, others: as for :func:`over_seeds`; the others are the divisor.

    Returns:
        The ratio; None without a common seed.
    """
    seeds = [seed for seed in layers if seed in others]
    if not seeds:
        return None
    both = [{seed: each[seed] for seed in seeds} for each in (layers, others)]
    (mine, value), (theirs, other) = map(_scores, both)
    found = interval(combine([mine, theirs], [1, -1]))
    ends = found and Interval(*np.exp(found).tolist())
    return Estimate(float(np.exp((value - other).mean())), ends)


def _scores(layers: Mapping[int | None, LayerDivergence]) -> tuple[Scores, np.ndarray]:
    """Returns ``log(1 + D)``, on whose scale errors are alike: corrected for few images, and as it
    is."""
    value = np.log1p([layer.divergence for layer in layers.values()])
    replicates = np.log1p([layer.replicates for layer in layers.values()])
    if np.isfinite(replicates[0]).sum() < FEWEST_REPLICATES:
        return Scores(tuple(layers), value, {}), value
    middle = np.nanmean(replicates, axis=1)
    images = min(layer.images for layer in layers.values())
    spreads = {"images": Spread(replicates - middle[:, None], images)}
    return Scores(tuple(layers), 2 * value - middle, spreads), value
