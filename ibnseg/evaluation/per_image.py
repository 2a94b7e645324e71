"""The counts of each image of a test, in an npz beside results.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ibnseg.evaluation.metrics import CONFUSION
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.reading import DAMAGED, read_npz

_COUNTS = "counts_"


class PerImage(NamedTuple):
    """The counts of each image of a test, in order of the names."""

    names: np.ndarray
    """(N,) str."""
    confusion: np.ndarray
    """(N, K, K) unsigned, rows truth."""
    groups: np.ndarray | None
    """(N,) str, the group of each image, such as its city or sequence; None if not recorded."""
    counts: Mapping[str, np.ndarray]
    """What metrics count besides the confusion: (N, ...) by the metric's name."""


def read_per_image(
    path: str | Path, total: np.ndarray, counts: Mapping[str, np.ndarray] | None = None
) -> PerImage:
    """Reads the counts of a test's images.

    Args:
        path: the npz.
        total: (K, K) integer, the sum of the images' confusion that results record.
        counts: the recorded sums of what metrics count besides, by the metric's name.

    Raises:
        UserError: if the file is damaged, or does not add up to what is recorded.
    """
    sums = {CONFUSION: total, **{f"{_COUNTS}{name}": x for name, x in (counts or {}).items()}}
    try:
        content = read_npz(path, ("names", "groups", *sums))
        arrays = {key: content[key] for key in sums}
        names, confusion = content["names"], arrays[CONFUSION]
        groups = content.get("groups", names)
        lengths = {len(names), len(groups), *map(len, arrays.values())}
        if len(lengths) > 1 or confusion.dtype.kind != "u":
            raise ValueError(f"{len(names)} names, {len(groups)} groups, {len(confusion)} matrices")
        if any(array.dtype.kind not in "uif" for array in arrays.values()):
            raise ValueError("counts that are not numbers")
        if names.dtype.kind != "U" or groups.dtype.kind != "U":
            raise ValueError("names or groups that are not text")
        if not 0 < len(names) == len(np.unique(names)):
            raise ValueError("no images" if len(names) == 0 else "one image is in it twice")
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({error}); test again to write it anew") from error
    if not all(_adds_up(arrays[key], recorded) for key, recorded in sums.items()):
        raise UserError(
            f"{path}: does not add up to the confusion in results.json; test again to write both"
        )
    order = np.argsort(names)
    known = groups[order] if "groups" in content else None
    del arrays[CONFUSION]
    own = {key.removeprefix(_COUNTS): array[order] for key, array in arrays.items()}
    return PerImage(names[order], confusion[order], known, own)


def _adds_up(of_images: np.ndarray, total: np.ndarray) -> bool:
    """Whether counts (N, ...) sum to a total (...): exactly if they are integers."""
    if of_images.shape[1:] != total.shape:
        return False
    if of_images.dtype.kind == "f":
        return np.allclose(of_images.sum(axis=0), total, rtol=1e-9, atol=1e-9)
    return bool((of_images.sum(axis=0, dtype=np.int64) == total).all())


def write_per_image(
    path: str | Path,
    matrices: Mapping[str, np.ndarray],
    groups: Sequence[str],
    counts: Mapping[str, Iterable[np.ndarray]] | None = None,
) -> None:
    """Writes the counts of a test's images as a compressed npz, whole or not at all.

    The file holds ``names`` and ``groups``, (N,) str; ``confusion``, (N, K, K) uint32; and what
    metrics count besides, ``counts_<metric>``, (N, ...).

    Args:
        path: the file.
        matrices: (K, K) integer each, by the image's path below its domain's root.
        groups: the group of each image, in the order of the matrices; images of one group are
            alike, see ``ibnseg.datasets.groups``.
        counts: by the name of a metric, its counts of each image, in the order of the matrices.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(list(matrices)),
            groups=np.array(list(groups)),
            confusion=np.stack(list(matrices.values())).astype(np.uint32),
            **{f"{_COUNTS}{name}": np.stack(list(own)) for name, own in (counts or {}).items()},
        )
