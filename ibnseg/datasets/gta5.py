"""Adapter for GTA5 ("Playing for Data", Richter et al., ECCV 2016) as its zip parts unpack, in the
official split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mmengine.logging import print_log

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import GTA5_COLORS, GTA5_IDS, GTA5_IDS_BY_COLOR
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name
from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_json


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


MOST_NUMBERS = 1_000_000
"""The most images that a split file may list."""


def read_split(path: Path) -> dict[str, tuple[int, ...]]:
    """Reads the image numbers of each split from a JSON file of closed ranges, ``{split: [[first,
    last], ...]}``.

    Raises:
        UserError: if the file has another content, or lists more than :data:`MOST_NUMBERS`.
    """
    form = "{split: [[first, last], ...]}, whole numbers with 0 <= first <= last"
    found = read_json(path, f"expected {form}")
    if not isinstance(found, dict):
        raise UserError(f"{path}: is a {type(found).__name__}, expected {form}")
    count = 0
    for name, ranges in found.items():
        for each in ranges if isinstance(ranges, list) else [ranges]:
            if not _is_range(each):
                raise UserError(f"{path}: split '{name}' has {each!r:.60}, expected {form}")
            count += each[1] - each[0] + 1
    if count > MOST_NUMBERS:
        raise UserError(f"{path}: lists {count} images, expected at most {MOST_NUMBERS}")
    return {
        name: tuple(n for first, last in ranges for n in range(first, last + 1))
        for name, ranges in found.items()
    }


def _is_range(value: object) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(type(n) is int for n in value) and 0 <= value[0] <= value[1]


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
    CLASS_TABLE = "gta5"
    LABEL_COLORS = GTA5_COLORS
    CLASS_MAPS = {"by_color": GTA5_IDS_BY_COLOR}
    DEFECTS = DEFECTS

    def defects(self, root: Path) -> Mapping[str, str]:
        return {} if _has_own_split(root) else self.DEFECTS

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        own = _has_own_split(root)
        splits = read_split(root / OWN_SPLIT) if own else official_split()
        names = set(_names(*splits.get(self.split, ())))
        if not names:
            raise UserError(
                f"{root / OWN_SPLIT}: lists no images of split '{self.split}', only of "
                f"{', '.join(name for name in splits if splits[name]) or 'none'}"
            )
        images, labels = (
            {f"{name}.png": path for name, path in found.items() if f"{name}.png" in names}
            for found in (files_by_name(root / folder, ".png") for folder in ("images", "labels"))
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
