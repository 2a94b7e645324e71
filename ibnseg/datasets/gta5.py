"""Adapter for GTA5 ("Playing for Data", Richter et al., ECCV 2016) as its zip parts unpack, in the
official split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mmengine.logging import print_log

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import GTA5_COLORS, GTA5_IDS, GTA5_IDS_BY_COLOR
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError


def _names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:05d}.png" for number in numbers)


DEFECTS = {
    **dict.fromkeys(
        _names(15188, *range(20803, 20835), *range(20858, 20861)),
        "image and label differ in size",
    ),
    **dict.fromkeys(_names(15188, 17705), "the image is invalid"),
}
"""The frames that cannot be used, with what is wrong with them; the sizes of 15188 differ, too
(lists in mlykotom/video-segmentation and fvisin/dataset_loaders)."""

ABSENT = frozenset(
    _names(
        *range(2154, 2159),
        *range(4634, 4638),
        *range(7115, 7120),
        *range(9683, 9689),
        *range(12050, 12055),
    )
)
"""The 25 frames that some copies of the dataset lack (bupt-ai-cz/IAST-ECCV2020, issue 2)."""

OWN_SPLIT = "split.json"
"""The file in the root of data in GTA5's layout that defines another split than GTA5's."""


def read_split(path: Path) -> dict[str, tuple[int, ...]]:
    """Reads the image numbers of each split from a JSON file of closed ranges, ``{split: [[first,
    last], ...]}``.

    Raises:
        UserError: if the file has another content.
    """
    try:
        return {
            name: tuple(n for first, last in parts for n in range(first, last + 1))
            for name, parts in json.loads(path.read_text()).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: expected {{split: [[first, last], ...]}} ({error})") from error


def official_split() -> dict[str, tuple[int, ...]]:
    """Reads GTA5's own split: the image numbers of ``train`` (12403), ``val`` (6382) and ``test``
    (6181), from its ``split.mat``."""
    return read_split(Path(str(files("ibnseg.datasets") / "gta5_split.json")))


@DATASETS.register_module()
class GTA5(DrivingDataset):
    """Reads GTA5, 24966 renderings, mostly of 1914x1052; without the defects 12402 train, 6347 val
    and 6180 test.

    The 25 frames that some copies lack are left out with a warning if they are missing. ``skipped``
    lists everything that is left out; any other missing frame is an error. Other data in the same
    layout defines its split in a file ``split.json`` (:func:`read_split`), and none of the frames
    listed there may be missing.
    """

    LAYOUT = "images/%05d.png and labels/%05d.png, all zip parts unpacked into the two folders"
    SPLITS = ("train", "val", "test")
    LABEL_IDS = GTA5_IDS
    LABEL_COLORS = GTA5_COLORS
    CLASS_MAPS = {"by_color": GTA5_IDS_BY_COLOR}
    DEFECTS = DEFECTS

    def defects(self, root: Path) -> Mapping[str, str]:
        return {} if _has_own_split(root) else self.DEFECTS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        own = _has_own_split(root)
        splits = read_split(root / OWN_SPLIT) if own else official_split()
        names = set(_names(*splits.get(self.split, ())))
        images, labels = (
            {path.name: path for path in (root / folder).glob("*.png") if path.name in names}
            for folder in ("images", "labels")
        )
        usable = names - self.defects(root).keys()
        absent = usable - images.keys() - labels.keys()
        if absent and (images or labels):
            missing = f"GTA5 {self.split}: {len(absent)} of {len(usable)} frames are not in {root}"
            if own or absent - ABSENT:
                raise UserError(
                    f"{missing}, the first is {min(absent)}; unpack all parts of the download"
                )
            print_log(f"{missing}; they are skipped", logger="current", level=logging.WARNING)
        self.skipped = sorted(names - images.keys() - labels.keys())
        return images, labels


def _has_own_split(root: Path) -> bool:
    return (root / OWN_SPLIT).is_file()
