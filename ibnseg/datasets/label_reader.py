"""What a dataset states if its labels are not stored as ids, but as polygons, segments or
colours."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class LabelReader(Protocol):
    """Reads the label files of a dataset as they were downloaded."""

    def ids(self, path: str | Path) -> np.ndarray:
        """Reads a label, (H, W) uint8 ids of the dataset.

        Raises:
            UserError: if the file is missing, damaged, or not of this form.
        """
        ...

    def size(self, path: str | Path) -> tuple[int, int]:
        """The (width, height) of a label in pixels, read without the label itself if possible.

        Raises:
            UserError: as :meth:`ids`.
        """
        ...

    def identity(self) -> str:
        """Says what else than the label files decides the ids, for stores and caches."""
        ...
