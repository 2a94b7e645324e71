"""What is taken from mmseg's datasets, which print a line for each optional package that they do
not find."""

from contextlib import redirect_stdout

with redirect_stdout(None):
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import RandomCrop

__all__ = ["BaseSegDataset", "RandomCrop"]
