"""Imports the parts of mmseg's datasets that are used here, without the line that they print for
each optional package that is missing."""

from contextlib import redirect_stdout

with redirect_stdout(None):
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import RandomCrop, ResizeToMultiple, SegRescale

__all__ = ["BaseSegDataset", "RandomCrop", "ResizeToMultiple", "SegRescale"]
