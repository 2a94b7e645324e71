"""Imports what is used of mmseg's datasets, which print a line for each optional package that is
not installed, without that output."""

from contextlib import redirect_stdout

with redirect_stdout(None):
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import RandomCrop

__all__ = ["BaseSegDataset", "RandomCrop"]
