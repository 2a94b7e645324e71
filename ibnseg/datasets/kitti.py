"""Adapter for KITTI's semantic segmentation as its zip unpacks, with the ids of Cityscapes."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name

VALIDATION = frozenset(
    f"{number:06d}_10"
    for number in (
        *(1, 3, 7, 8, 20, 22, 24, 25, 26, 30, 37, 43, 49, 50, 52, 57, 60, 61, 63, 68, 71, 72, 76),
        *(79, 86, 96, 101, 115, 121, 128, 129, 131, 133, 134, 137, 139, 140, 141, 142, 144, 146),
        *(149, 156, 157, 169, 175, 178, 190, 192, 196),
    )
)
"""The images in ``val`` of mseg-dataset/mseg-api:mseg/dataset_lists/kitti-34; its ``train`` has all
others."""


@DATASETS.register_module()
class KITTI(DrivingDataset):
    """Reads KITTI's semantic segmentation, 200 photographs of Karlsruhe, mostly of 1242x375
    (Alhaija et al., IJCV 2018).

    There is no official split; ``train`` (150) and ``val`` (50) are those of MSeg, and ``all`` is
    both. The 200 test images have no public labels.
    """

    LAYOUT = "training/image_2/<name>.png and training/semantic/<name>.png (data_semantics.zip)"
    SPLITS = ("train", "val", "all")
    LABEL_IDS = classes_of("kitti").ids("cityscapes")
    CLASS_TABLE = "kitti"
    COUNTS = {"train": 150, "val": 50, "all": 200}

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images, labels = (
            {
                name: path
                for name, path in files_by_name(root / "training" / folder, ".png").items()
                if self.split == "all" or (name in VALIDATION) == (self.split == "val")
            }
            for folder in ("image_2", "semantic")
        )
        return images, labels
