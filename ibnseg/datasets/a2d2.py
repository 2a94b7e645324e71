"""Adapter for A2D2 as its archive unpacks: six cameras by drive, classes that are colours."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.color_labels import ColoredDataset, ColorLabels
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name, list_folders

FOLDER = "camera_lidar_semantic"
"""The folder that the archive unpacks to."""

DRIVES = {
    "20181008_095521": "val",
    "20181108_141609": "val",
    "20181204_154421": "val",
    "20181016_125231": "test",
    "20181108_084007": "test",
    "20181204_170238": "test",
}
"""The splits of drives, as in robin-karlsson0/mmsegmentation:tools/convert_datasets/a2d2.py; all
others are for training."""

DIVIDED, FIRST_OF_VAL = "20181008_095521", 55000
"""The drive whose frames before this one are for training."""

_TABLE = classes_of("a2d2")


@DATASETS.register_module()
class A2D2(ColoredDataset):
    """Reads A2D2, photographs of 1920x1208 by six cameras on German roads (Geyer et al., 2020).

    There is no official split; ``train``, ``val`` and ``test`` are those of a public script,
    28894, 4252 and 8131 images. So is the map to the 19 classes, at some of which its authors put
    question marks (``ibnseg classes a2d2``).
    """

    LAYOUT = (
        f"{FOLDER}/<drive>/camera/cam_*/<time>_camera_*_<frame>.png and "
        f"{FOLDER}/<drive>/label/cam_*/<time>_label_*_<frame>.png"
    )
    SPLITS = ("train", "val", "test")
    LABEL_IDS = dict(enumerate(_TABLE.colors("cityscapes").values()))
    CLASS_TABLE = "a2d2"
    COUNTS = {"train": 28894, "val": 4252, "test": 8131}
    label_reader = ColorLabels(tuple(_TABLE.colors("cityscapes")))

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        return self._files(root, "camera"), self._files(root, "label")

    def _files(self, root: Path, kind: str) -> dict[str, Path]:
        """The split's files of a kind, by drive, camera and the names of their images."""
        return {
            f"{drive.name}/{camera.name}/{name}": path
            for drive in list_folders(root / FOLDER)
            for camera in list_folders(drive / kind)
            for stem, path in files_by_name(camera, ".png").items()
            if split_of_image(drive.name, name := stem.replace(f"_{kind}_", "_camera_"))
            == self.split
        }


def split_of_image(drive: str, name: str) -> str:
    """The split of an image, by its drive and its name, which ends in the number of the frame."""
    number = name.rpartition("_")[2]
    if drive == DIVIDED and number.isdecimal() and int(number) < FIRST_OF_VAL:
        return "train"
    return DRIVES.get(drive, "train")
