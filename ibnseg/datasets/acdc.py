"""Adapter for ACDC as its zips unpack: rgb_anon and gt, in four adverse conditions and on reference
days."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.class_tables import classes_of
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_place
from ibnseg.support.errors import UserError, unknown_name

CONDITIONS = ("fog", "night", "rain", "snow")
"""The conditions, each a folder."""


@DATASETS.register_module()
class ACDC(DrivingDataset):
    """Reads ACDC, the Adverse Conditions Dataset with Correspondences: 1600 training and 406
    validation photographs of 1920x1080 from Switzerland (Sakaridis et al., ICCV 2021).

    The splits ``train_ref`` and ``val_ref`` show the same places in good weather by day; about half
    of their images have labels, and only these are read. The 2000 test images have no public
    labels. Pixels that the masks ``*_gt_invIds.png`` call uncertain count like all others, as in
    the benchmark's mIoU.

    Args:
        conditions: those of ``CONDITIONS`` to keep; all if None. Of a reference split, it is the
            condition in which the place was seen the other time.
        kwargs: the arguments of :class:`DrivingDataset`.
    """

    LAYOUT = (
        "rgb_anon/{fog,night,rain,snow}/{train,val}/<sequence>/<name>_rgb_anon.png and "
        "gt/{fog,night,rain,snow}/{train,val}/<sequence>/<name>_gt_labelIds.png (in train_ref and "
        "val_ref <name>_rgb_ref_anon.png and <name>_gt_ref_labelIds.png)"
    )
    SPLITS = ("train", "val", "train_ref", "val_ref")
    CLASS_TABLE = "acdc"
    LABEL_IDS = classes_of(CLASS_TABLE).ids("cityscapes")
    COUNTS_BY_CONDITION: ClassVar[dict[str, dict[str, int]]] = {
        "train": dict.fromkeys(CONDITIONS, 400),
        "val": {**dict.fromkeys(CONDITIONS, 100), "night": 106},
    }
    """The labelled images of each split in each condition (the README of the download)."""

    def __init__(self, *args, conditions: Sequence[str] | None = None, **kwargs) -> None:
        for condition in conditions or ():
            if condition not in CONDITIONS:
                raise unknown_name("condition of ACDC", condition, CONDITIONS)
        self.conditions = tuple(conditions or CONDITIONS)
        super().__init__(*args, **kwargs)

    @classmethod
    def images(
        cls, root: Path, split: str, conditions: Sequence[str] = CONDITIONS
    ) -> dict[str, Path]:
        """Lists a split's images by condition, sequence and frame; ``test`` and ``test_ref`` are
        allowed too, although their labels are not public."""
        suffix = "_rgb_ref_anon.png" if split.endswith("_ref") else "_rgb_anon.png"
        return _of_conditions(root / "rgb_anon", split, suffix, conditions)

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        is_reference = self.split.endswith("_ref")
        suffix = "_gt_ref_labelIds.png" if is_reference else "_gt_labelIds.png"
        images = self.images(root, self.split, self.conditions)
        labels = _of_conditions(root / "gt", self.split, suffix, self.conditions)
        for kind, found in (("images", images), ("labels", labels)):
            absent = {*self.conditions} - {key.partition("/")[0] for key in found}
            if found and absent:
                raise UserError(
                    f"ACDC: no {kind} of {', '.join(sorted(absent))} in split '{self.split}' in "
                    f"{root}; expected the layout {self.LAYOUT}"
                )
        if is_reference and labels:
            images = {key: path for key, path in images.items() if key in labels}
        return images, labels

    def official_count(self) -> int | None:
        counts = self.COUNTS_BY_CONDITION.get(self.split)
        return counts and sum(counts[each] for each in self.conditions)


def _of_conditions(
    folder: Path, split: str, suffix: str, conditions: Sequence[str]
) -> dict[str, Path]:
    return {
        f"{condition}/{place}": path
        for condition in conditions
        for place, path in files_by_place(folder / condition / split, suffix).items()
    }
