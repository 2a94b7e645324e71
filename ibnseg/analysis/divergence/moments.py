"""Computes mean and variance of a stream of images' features, with bootstrap replicates, in fixed
memory.

A replicate weights each image by a Poisson number of mean 1, the limit of drawing as many images
with replacement as there are; it needs neither their number nor the images again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REPLICATES = 200
"""The default number of bootstrap replicates."""

BUFFER = 64
"""The number of images whose features are held until they are added in one matrix product."""


@dataclass(frozen=True)
class Moments:
    """Weighted moments of a set of images, for each of R weightings and C channels.

    Attributes:
        images: (R,) int64, numbers of images whose weight is not 0.
        weight: (R,) float64, sums of the weights.
        mean: (R, C) float64; 0 if the weight is 0.
        m2: (R, C) float64, weighted sums of squared deviations from the mean.
    """

    images: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray) -> Moments:
        """Computes the moments of some images at once.

        Args:
            values: (N, C), N at least 1.
            weights: (R, N), 0 or more.
        """
        values, weights = np.asarray(values, np.float64), np.asarray(weights, np.float64)
        centre = values.mean(axis=0)
        deviations = values - centre  # so that squares of large means do not cancel
        weight = weights.sum(axis=1)
        share = _inverse(weight)[:, None]
        offset = weights @ deviations * share
        m2 = weights @ deviations**2 - weight[:, None] * offset**2
        mean = np.where(share > 0, centre + offset, 0)
        return cls((weights > 0).sum(axis=1), weight, mean, m2.clip(min=0))

    def merge(self, other: Moments) -> Moments:
        """Returns the moments of both sets of images together (Chan, Golub, LeVeque, "Updating
        formulae and a pairwise algorithm for computing sample variances", 1979).

        Raises:
            ValueError: for other numbers of weightings or channels.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"moments of shapes {self.mean.shape} and {other.mean.shape}")
        weight = self.weight + other.weight
        share = (other.weight * _inverse(weight))[:, None]
        step = other.mean - self.mean
        mean = self.mean + step * share
        m2 = self.m2 + other.m2 + step**2 * self.weight[:, None] * share
        return Moments(self.images + other.images, weight, mean, m2)

    @property
    def variance(self) -> np.ndarray:
        """(R, C) population variances; 0 if the weight is 0."""
        return self.m2 * _inverse(self.weight)[:, None]


def _inverse(weight: np.ndarray) -> np.ndarray:
    return np.divide(1, weight, out=np.zeros_like(weight), where=weight > 0)


def image_weights(indices: Sequence[int], replicates: int, key: Sequence[int] = ()) -> np.ndarray:
    """Draws the weights of images: 1, then their Poisson weights in the replicates.

    An image's weights depend on the key and its index alone: the same image under another network
    or in another look has the same weights, so differences are paired.

    Args:
        indices: the indices of the images in their set.
        replicates: the number R of replicates of the bootstrap.
        key: integers of 0 or more, e.g. a seed and the set's number.

    Returns:
        (1 + R, N) float64.
    """
    drawn = [np.random.default_rng([*key, i]).poisson(1, replicates) for i in indices]
    return np.vstack([np.ones(len(drawn)), np.array(drawn).reshape(len(drawn), replicates).T])


class FeatureMoments:
    """Moments of each layer of a network over a stream of images.

    Memory does not depend on the number of images: (2 + 2 R) x 8 bytes a channel, and ``BUFFER``
    images' features.

    Args:
        replicates: the number R of replicates of the bootstrap.
        key: as for :func:`image_weights`; sets that are drawn independently have different keys.
    """

    def __init__(self, replicates: int = REPLICATES, key: Sequence[int] = (0,)) -> None:
        self.replicates, self.key = replicates, tuple(key)
        self._layers: dict[str, Moments] = {}
        self._held: dict[str, list[np.ndarray]] = {}
        self._indices: list[int] = []
        self.images = 0

    def update(self, features: dict[str, np.ndarray], indices: Sequence[int] | None = None) -> None:
        """Adds a batch.

        Args:
            features: spatial means by layer, (N, C) each.
            indices: the indices of the images in their set; by default those that follow the
                images before.
        """
        count = len(next(iter(features.values())))
        self._indices += range(self.images, self.images + count) if indices is None else indices
        self.images += count
        for name, values in features.items():
            self._held.setdefault(name, []).append(values)
        if len(self._indices) >= BUFFER:
            self._add()

    def _add(self) -> None:
        if not self._indices:
            return
        weights = image_weights(self._indices, self.replicates, self.key)
        for name, values in self._held.items():
            added = Moments.of(np.concatenate(values), weights)
            before = self._layers.get(name)
            self._layers[name] = added if before is None else before.merge(added)
        self._held, self._indices = {}, []

    @property
    def layers(self) -> dict[str, Moments]:
        """The moments of all images so far, by layer; the first weighting counts each once."""
        self._add()
        return dict(self._layers)

    def merge(self, other: FeatureMoments) -> FeatureMoments:
        """Returns the moments of both sets together, e.g. of two processes that each saw a part of
        the images.

        Raises:
            ValueError: for other layers, replicates or key.
        """
        mine, theirs = self.layers, other.layers
        same = self.replicates == other.replicates and self.key == other.key
        if not same or (mine and theirs and mine.keys() != theirs.keys()):
            raise ValueError("moments of other layers, replicates or key")
        merged = FeatureMoments(self.replicates, self.key)
        merged.images = self.images + other.images
        both = mine.keys() & theirs.keys()
        merged._layers = {
            name: mine[name].merge(theirs[name]) if name in both else moments
            for name, moments in {**theirs, **mine}.items()
        }
        return merged
