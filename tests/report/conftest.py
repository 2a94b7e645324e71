"""Runs and published numbers that reports are made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ibnseg.report import gather as gather_module
from ibnseg.report.gather import Report, gather
from ibnseg.report.published import Published
from tests.conftest import save_run

PUBLISHED = (
    Published(
        "Base", "R50", ("gta5",), "cityscapes", "mIoU", "28.95", "native", "40k", "Paper, table 3"
    ),
    Published("Base", "R50", ("gta5",), "gta5", "mIoU", "70.0", "native", "40k", "Paper, table 3"),
    Published(
        "A_B & C", "R50", ("gta5",), "cityscapes", "mIoU", "30.10", "unknown", "unknown", "Issue #2"
    ),
    Published(
        "Two", "R50", ("gta5", "synthia"), "cityscapes", "mIoU", "35.5", "rein", "unknown", "Third"
    ),
    Published(
        "Base", "R50", ("gta5",), "cityscapes", "pixel_accuracy", "80.0", "native", "40k", "Fourth"
    ),
    Published(
        "Base", "R50", ("gta5",), "bdd100k", "mIoU", "25.14", "native", "40k", "Paper, table 3"
    ),
)


def road(*right: int) -> list[list[list[int]]]:
    """Images of ten pixels of road, so many of them right."""
    return [[[n, 10 - n], [0, 0]] for n in right]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> tuple[Published, ...]:
    """Published numbers that replace the package's table."""
    monkeypatch.setattr(gather_module, "read_published", lambda: PUBLISHED)
    return PUBLISHED


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two networks of two seeds, tested in their own domain and on two groups of Cityscapes images.

    The second has exactly one right pixel in ten more on Cityscapes.
    """
    groups = {"cityscapes": ["bonn", "bonn", "ulm", "ulm"]}
    found = []
    for name, more in (("a_plain", 0), ("b_ibn", 1)):
        for seed in range(2):
            tests = {
                "gta5": road(9, 9, 9),
                "cityscapes": road(*(n + seed + more for n in (2, 3, 4, 5))),
            }
            folder = tmp_path / name / f"seed{seed}"
            found.append(save_run(folder, tests, name=name, seed=seed, groups=groups))
    return found


@pytest.fixture
def report(runs: list[Path]) -> Callable[..., Report]:
    """A function that gathers the runs' pixel accuracy."""
    return lambda **kwargs: gather(runs, **{"metric": "pixel_accuracy", **kwargs})
