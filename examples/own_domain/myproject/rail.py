"""Drives with a camera on a train: their classes, and the files of a split."""

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import IGNORE, ClassSet
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name

RAIL = ClassSet(
    "rail",
    ("track", "train", "plants", "sky"),  # train ids 0 to 3
    ((230, 150, 140), (0, 80, 100), (107, 142, 35), (70, 130, 180)),  # RGB
)


@DATASETS.register_module()  # its type is "ibnseg.RailDrives"
class RailDrives(DrivingDataset):
    """Reads the frames of the drives that a split lists."""

    LAYOUT = "<drive>/<frame>.jpg, <drive>/<frame>.mask.png and {train,val}.txt, a drive a line"
    SPLITS = ("train", "val")
    CLASS_SET = RAIL
    LABEL_IDS = {10: 0, 20: 1, 30: 2, 31: 3, 0: IGNORE}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        drives = (root / f"{self.split}.txt").read_text(encoding="utf-8-sig").split()
        return tuple(
            {
                f"{drive}/{frame}": path
                for drive in drives
                for frame, path in files_by_name(root / drive, suffix).items()
            }
            for suffix in (".jpg", ".mask.png")
        )
