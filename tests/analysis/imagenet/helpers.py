"""A network that sees the mean colour, and images of three colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.conftest import save_rgb


class MeanColour(nn.Module):
    """Three logits, the means of the normalised channels; counts the images it is shown."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.still = nn.Parameter(torch.zeros(1))
        self.shown, self.stop_after = 0, stop_after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32
        if self.stop_after is not None and self.shown >= self.stop_after:
            raise KeyboardInterrupt
        self.shown += len(x)
        return x.mean((2, 3))


COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_colours(folder: Path, count: int = 3) -> Path:
    """Plain images of three colours, ``count`` each. Their classes in MeanColour's order are red,
    green, blue; those of the folders, sorted, are the reverse: only green is right."""
    for name, colour in COLOURS.items():
        for i in range(count):
            save_rgb(folder / name / f"{i}.png", np.full((40, 50 + i, 3), colour, np.uint8))
    return folder
