"""Stretches of equal ids in the rows of a label, of which there are far fewer than pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stretches(NamedTuple):
    """A label as stretches: pixels of a row that follow one another and have the same id."""

    begins: np.ndarray
    """(M,) int64, ascending: the index of each stretch's first pixel in ``label.ravel()``."""
    lengths: np.ndarray
    """(M,) int64, the number of its pixels; they sum to H * W."""
    ids: np.ndarray
    """(M,) of the label's dtype, the id of its pixels."""
    shape: tuple[int, int]
    """(H, W) of the label."""
    tile: int
    """No stretch lies on both sides of a column that is a multiple of this."""

    def counts(self) -> np.ndarray:
        """Counts the pixels of each id, (256,) int64; the ids are uint8."""
        return np.bincount(self.ids, self.lengths, 256).astype(np.int64)  # float64 is exact here


def stretches(label: np.ndarray, tile: int | None = None) -> Stretches:
    """Cuts the rows of a label into stretches of equal ids.

    What is to be summed over pixels is summed over stretches much faster, and as exactly. The cut
    takes a millisecond for the 1024x2048 pixels of a street.

    Args:
        label: (H, W) ids.
        tile: stretches are also cut at the columns that are multiples of it; by default at none.
    """
    tile, pixels = tile or max(label.shape), label.ravel()
    changes = np.empty(label.shape, bool)
    np.not_equal(pixels[1:], pixels[:-1], out=changes.ravel()[1:])
    changes[:, ::tile] = True
    begins = where_few(changes.ravel())
    lengths = np.diff(begins, append=label.size)
    return Stretches(begins, lengths, pixels[begins], label.shape, tile)


def where_few(flags: np.ndarray) -> np.ndarray:
    """Finds what ``np.flatnonzero`` does in (N,) bool, of which few are set, faster: it looks at
    eight at a time."""
    packed = np.packbits(flags)
    octets = np.flatnonzero(packed != 0)
    bits = np.flatnonzero(np.unpackbits(packed[octets]).view(bool))
    return (octets[bits >> 3] << 3) + (bits & 7)
