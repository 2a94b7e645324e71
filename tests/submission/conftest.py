"""Archives of label maps for each target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ibnseg.submission import TARGETS, get_target
from ibnseg.submission.archive import encode, write_archive
from ibnseg.submission.check import check_archive
from ibnseg.submission.target import Target
from tests.conftest import scene

SIZE = (64, 48)
FRAMES = ("berlin_000000_000019", "berlin_000001_000019", "mainz_000000_000019")
HEXES = ("0004a4c0-d4dff0ad", "00067cfb-5443fe39", "cab95df1-abcd0123")


def drivable(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene whose road is drivable: (H, W, 3) uint8, and (H, W) train ids; direct is the middle
    third, alternative the rest of the road."""
    image, train_ids = scene(seed)
    road = train_ids == 0
    found = np.where(road, np.uint8(1), np.uint8(2))
    middle = np.zeros_like(road)
    middle[:, SIZE[0] // 3 : 2 * SIZE[0] // 3] = True
    found[road & middle] = 0
    return image, found


def label_map(target: Target, seed: int) -> np.ndarray:
    """(H, W) uint8 train ids with all of the target's classes, and background at the top of a
    drivable map."""
    if target.drivable_release:
        return drivable(seed)[1]
    rng = np.random.default_rng(seed)
    return rng.integers(0, len(target.class_set.classes), SIZE[::-1], dtype=np.uint8)


@pytest.fixture(params=TARGETS)
def target(request) -> Target:
    return get_target(request.param)


@pytest.fixture
def keys(target: Target) -> list[str]:
    """The adapter's keys of three images."""
    if target.name == "cityscapes":
        return [f"{frame.split('_')[0]}/{frame}" for frame in FRAMES]
    return list(HEXES)


@pytest.fixture
def files(target: Target, keys: list[str], tmp_path: Path) -> dict[str, Path]:
    """Good members: encoded label maps by their names."""
    files = {target.member(key): tmp_path / "members" / target.member(key) for key in keys}
    for seed, path in enumerate(files.values()):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(label_map(target, seed), target))
    return files


@pytest.fixture
def sizes(files: dict[str, Path]) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(files, SIZE)


@pytest.fixture
def archive(target: Target, files: dict[str, Path], sizes, tmp_path: Path) -> Path:
    path = tmp_path / "submission.zip"
    write_archive(path, files, lambda made: check_archive(made, target, sizes))
    return path
