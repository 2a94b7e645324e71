"""The length of a training and its learning rate."""

from __future__ import annotations

import math


def iterations(epochs: int, images: int, batch: int) -> int:
    """Computes the optimiser steps in some epochs: ``epochs * ceil(images / batch)``."""
    return epochs * math.ceil(images / batch)


def poly(total: int, power: float = 0.9) -> dict:
    """Configures mmengine's scheduler so that step i of N has the rate ``base (1 - i / N)^power``.

    That is the "poly" schedule of the paper, of DeepLab and of PSPNet; i begins at 0. mmengine's
    PolyLR reaches ``eta_min`` at step ``end - 1``, the classic form one step after the last; hence
    ``end = N + 1``.

    Args:
        total: N, the number of optimiser steps.
        power: the exponent.
    """
    return dict(type="PolyLR", by_epoch=False, begin=0, end=total + 1, eta_min=0.0, power=power)
