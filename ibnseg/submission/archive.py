"""Writes an archive: a zip of PNG files with a target's ids; equal input makes equal archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ibnseg.datasets.labels import UNKNOWN, lookup_table
from ibnseg.submission.target import Target
from ibnseg.support.files import written_whole

_DATE = (1980, 1, 1, 0, 0, 0)  # of all members, the earliest that a zip knows


def encode(train_ids: np.ndarray, target: Target) -> bytes:
    """Encodes a prediction as the target takes it.

    Args:
        train_ids: (H, W) uint8.
        target: maps them to the ids in the archive.

    Returns:
        The content of a PNG file with one channel of 8 bits.

    Raises:
        ValueError: for a train id that is no class of the target.
    """
    ids = cv2.LUT(train_ids, lookup_table(dict(target.ids)))
    if (ids == UNKNOWN).any():
        wrong = sorted(set(np.unique(train_ids).tolist()) - set(target.ids))
        raise ValueError(f"train ids {wrong}, which are no class of {target.title}")
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, format="PNG")
    return buffer.getvalue()


def write_archive(
    path: Path, members: Mapping[str, Path], check: Callable[[Path], object]
) -> object:
    """Writes a zip of files, which appears only after a check.

    Members are sorted by their names, have one date, and are not compressed, since PNG already is.

    Args:
        path: the path of the archive.
        members: the files, by their names in the archive.
        check: is called with the temporary path of the archive before it appears.

    Returns:
        What the check returns.

    Raises:
        UserError: if the archive cannot be written.

    What the check raises is raised, too.
    """
    with written_whole(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(name, _DATE)
                info.external_attr = 0o644 << 16
                archive.writestr(info, members[name].read_bytes())
        return check(temporary)
