"""GTA5 ("Playing for Data", Richter et al., ECCV 2016), as its zip parts unpack, in its official
split."""

from __future__ import annotations

import json
import logging
from functools import cache
from importlib.resources import files
from pathlib import Path

from mmengine.logging import print_log

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import GTA5_COLORS, GTA5_IDS
from ibnseg.registry import DATASETS

DEFECTS = frozenset({15188, 17705, *range(20803, 20835), *range(20858, 20861)})
"""Numbers of the frames that cannot be used: 15188 and 17705 are invalid images; in 15188 and the
rest image and label differ in size (lists in mlykotom/video-segmentation and
fvisin/dataset_loaders)."""


@cache
def official_split() -> dict[str, tuple[int, ...]]:
    """Image numbers of ``train`` (12403), ``val`` (6382) and ``test`` (6181), from the official
    split.mat."""
    ranges = json.loads(files("ibnseg.datasets").joinpath("gta5_split.json").read_text())
    return {
        name: tuple(n for first, last in parts for n in range(first, last + 1))
        for name, parts in ranges.items()
    }


@DATASETS.register_module()
class GTA5(DrivingDataset):
    """24966 renderings, mostly of 1914x1052; without the defects 12402 train, 6347 val and 6180
    test.

    Listed frames of which neither image nor label is on disk (some copies lack 25) are left out
    too, with a warning. All that is left out is in ``skipped``.
    """

    LAYOUT = "images/%05d.png and labels/%05d.png, all zip parts unpacked into the two folders"
    SPLITS = ("train", "val", "test")
    LABEL_IDS = GTA5_IDS
    LABEL_COLORS = GTA5_COLORS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        listed = {f"{number:05d}.png": number for number in official_split()[self.split]}
        usable = {name for name, number in listed.items() if number not in DEFECTS}
        images, labels = (
            {path.name: path for path in (root / folder).glob("*.png") if path.name in usable}
            for folder in ("images", "labels")
        )
        absent = usable - images.keys() - labels.keys()
        if absent and (images or labels):
            print_log(
                f"GTA5 {self.split}: {len(absent)} of {len(listed)} listed frames are not in "
                f"{root}, "
                f"first {min(absent)}; they are recorded as skipped",
                logger="current",
                level=logging.WARNING,
            )
        self.skipped = sorted(absent | (listed.keys() - usable))
        return images, labels
