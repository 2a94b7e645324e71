"""Which images and labels of a split are used: known defects and files without a partner are left
out, or refused."""

from __future__ import annotations

from collections.abc import Container
from fractions import Fraction
from pathlib import Path

from ibnseg.support.errors import UserError


def without_defects(
    images: dict[str, Path], labels: dict[str, Path], defects: Container[str]
) -> tuple[dict[str, Path], dict[str, Path], set[str]]:
    """Leaves out the pairs that are known not to be usable.

    Args:
        images, labels: files by the key that image and label share.
        defects: the keys of pairs that cannot be used; half of such a pair is left out, too.

    Returns:
        The images and labels that remain, and the keys of those that were left out.
    """
    kept = [
        {key: path for key, path in files.items() if key not in defects}
        for files in (images, labels)
    ]
    return *kept, {key for key in (*images, *labels) if key in defects}


def without_unpaired(
    images: dict[str, Path], labels: dict[str, Path], tolerated: Fraction
) -> tuple[dict[str, Path], dict[str, Path], set[str]]:
    """Leaves out images without a label and labels without an image, if they are few enough.

    Args:
        images, labels: files by the key that image and label share.
        tolerated: the largest share of the keys that may lack one of the two, in [0, 1].

    Returns:
        The images and labels that remain, and the keys of those that were left out.

    Raises:
        UserError: if there are more, with the first of them and their number.
    """
    unpaired = images.keys() ^ labels.keys()
    every = images.keys() | labels.keys()
    most = int(tolerated * len(every))
    if len(unpaired) > most:
        kind, other, files = (
            ("image", "label", images)
            if images.keys() - labels.keys()
            else ("label", "image", labels)
        )
        first = files[min(unpaired & files.keys())]
        more = f" (and {len(unpaired) - 1} more)" if len(unpaired) > 1 else ""
        limit = (
            f"; of {len(every)} pairs, at most {most} may lack one of the two" if tolerated else ""
        )
        raise UserError(
            f"{first}: {kind} without {other}{more}{limit}; unpack the download again, or remove "
            f"the {kind}"
        )
    paired = images.keys() & labels.keys()
    return (
        {key: path for key, path in images.items() if key in paired},
        {key: path for key, path in labels.items() if key in paired},
        unpaired,
    )
