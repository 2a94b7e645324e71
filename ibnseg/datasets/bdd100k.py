"""Adapters for BDD100K (Yu et al., CVPR 2020): semantic segmentation and drivable area, in the
layouts of 2018 and of 2021, as the zips unpack."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import ClassVar, NamedTuple

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.drivable import maps_of_another_release, release_of
from ibnseg.datasets.labels import BDD100K_IDS, DRIVABLE, DRIVABLE_2018_IDS, DRIVABLE_IDS
from ibnseg.datasets.transforms import read_label
from ibnseg.registry import DATASETS
from ibnseg.support.data_files import files_by_name, has_suffix, list_files
from ibnseg.support.errors import UserError, unknown_name


class Release(NamedTuple):
    """Where the files of a release lie on disk, and the ids in its labels."""

    images: str  # the folder that has a folder of images for each split
    labels: str  # the folder that has a folder of labels for each split
    suffix: str  # what follows the image's name in the name of its label
    ids: dict[int, int]  # ids on disk to train ids
    unpaired: Fraction = Fraction(0)  # the share of the files that may lack their partner


class Released(DrivingDataset):
    """A dataset of several releases, which are recognised by the folder of their labels.

    Args:
        release: one of ``RELEASES``; if None, the one whose folders are there.
        kwargs: the arguments of :class:`DrivingDataset`.
    """

    SPLITS = ("train", "val")
    RELEASES: ClassVar[dict[str, Release]]

    def __init__(self, *args, release: str | None = None, **kwargs) -> None:
        self._releases(release)
        self.release = release
        super().__init__(*args, **kwargs)

    @classmethod
    def images(cls, root: Path, split: str, release: str | None = None) -> dict[str, Path]:
        """Lists a split's images by name; ``test`` is allowed too, although its labels are not
        public."""
        folders = [root / each.images / split for each in cls._releases(release)]
        folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        return files_by_name(folder, ".jpg")

    @classmethod
    def labels(cls, root: Path, split: str, release: str | None = None) -> dict[str, Path]:
        """Lists a split's labels by the names of their images; ``test`` has none."""
        if split not in cls.SPLITS:
            return {}
        expected = cls._release(root, release)
        folder = root / expected.labels / split
        for path in list_files(folder, ".png"):
            cls._require_suffix(path, expected)
        return files_by_name(folder, expected.suffix)

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        release = self._release(root, self.release)
        self.label_ids = release.ids
        images = files_by_name(root / release.images / self.split, ".jpg")
        return images, self.labels(root, self.split, self.release)

    def may_be_unpaired(self, root: Path) -> Fraction:
        return self._release(root, self.release).unpaired

    @classmethod
    def _releases(cls, name: str | None) -> list[Release]:
        """The releases that may be on disk: the one of a name, or all if the name is None.

        Raises:
            UserError: if there is no release of that name.
        """
        if name is None:
            return list(cls.RELEASES.values())
        if name not in cls.RELEASES:
            raise unknown_name(f"release of {cls.__name__}", name, cls.RELEASES)
        return [cls.RELEASES[name]]

    @classmethod
    def _release(cls, root: Path, name: str | None) -> Release:
        """The release of a name, or the one whose labels are there; the newest if none are there.

        Raises:
            UserError: if labels of several releases are there and no name chooses one.
        """
        releases = cls._releases(name)
        if len(releases) == 1:
            return releases[0]
        there = [release for release in releases if (root / release.labels).is_dir()]
        if len(there) > 1:
            folders = " and ".join(release.labels for release in there)
            raise UserError(
                f"{root}: has labels of several releases, {folders}; choose one in the domain's "
                f"dataset with release={' or '.join(map(repr, cls.RELEASES))}, or keep only one"
            )
        return there[0] if there else releases[0]

    @classmethod
    def _require_suffix(cls, path: Path, release: Release) -> None:
        """Raises a UserError if a label is named like those of another release."""
        suffixes = sorted((r.suffix for r in cls.RELEASES.values()), key=len, reverse=True)
        found = next(suffix for suffix in suffixes if has_suffix(path, [suffix]))
        if found != release.suffix:
            raise UserError(
                f"{path}: is named like labels of another release, <name>{found}, but "
                f"<name>{release.suffix} is expected; keep the releases apart, their ids may differ"
            )


_ANOTHER_VIEW = "an upright image of 720x1280 with a label of 1280x720, which is of another view"

DEFECTS = dict.fromkeys(
    (
        "3d581db5-2564fb7e",  # train
        "52e3fd10-c205dec2",
        "781756b0-61e0a182",
        "78ac84ba-07bd30c2",
        "80a9e37d-e4548ac1",  # val
        "9342e334-33d167eb",
    ),
    _ANOTHER_VIEW,
)
"""The 10k images that cannot be used, with what is wrong with them. In the zips of spring 2021 they
had no labels, and six labels of other names had no image (bdd100k/bdd100k, issues 103 and 127); in
the zips since June 2021 they have labels of another size. The zips of 2018 do not have them."""


@DATASETS.register_module()
class BDD100K(Released):
    """Reads BDD100K's 10k images for semantic segmentation: 7000 training and 1000 validation
    photographs of 1280x720, from drives in the United States of America.

    The 2000 test images have no public labels. Without the ``DEFECTS`` of the zips of 2021, 6996
    and 998 images remain; up to one in a hundred of their files may lack its partner.
    """

    LAYOUT = (
        "images/10k/{train,val}/<name>.jpg and labels/sem_seg/masks/{train,val}/<name>.png "
        "(in 2018 seg/images/{train,val}/<name>.jpg and seg/labels/{train,val}/<name>_train_id.png)"
    )
    LABEL_IDS = BDD100K_IDS
    DEFECTS = DEFECTS
    RELEASES = {
        "2021": Release(
            "images/10k", "labels/sem_seg/masks", ".png", BDD100K_IDS, unpaired=Fraction(1, 100)
        ),
        "2018": Release("seg/images", "seg/labels", "_train_id.png", BDD100K_IDS),
    }


SAMPLED = 100
"""The approximate number of labels of a split that are checked for the ids of another release."""


@DATASETS.register_module()
class BDD100KDrivable(Released):
    """Reads BDD100K's 100k images with the drivable area: 70000 training and 10000 validation
    photographs of 1280x720.

    The 20000 test images have no public labels. The two releases have different ids on disk, but
    the same train ids here. Labels with the ids of the other release are refused; about
    ``SAMPLED`` labels are checked for this.
    """

    LAYOUT = (
        "images/100k/{train,val}/<name>.jpg and labels/drivable/masks/{train,val}/<name>.png "
        "(in 2018 drivable_maps/labels/{train,val}/<name>_drivable_id.png)"
    )
    CLASS_SET = DRIVABLE
    LABEL_IDS = DRIVABLE_IDS
    RELEASES = {
        "2021": Release("images/100k", "labels/drivable/masks", ".png", DRIVABLE_IDS),
        "2018": Release(
            "images/100k", "drivable_maps/labels", "_drivable_id.png", DRIVABLE_2018_IDS
        ),
    }

    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        images, labels = super().pairs(root)
        step = max(1, len(labels) // SAMPLED)
        checked = {str(labels[key]): labels[key] for key in sorted(labels)[::step]}
        releases = {name: release_of(read_label(path)) for name, path in checked.items()}
        own = next(name for name, each in self.RELEASES.items() if each.ids == self.label_ids)
        others = maps_of_another_release(releases, own)
        if others:
            raise UserError(
                f"{others[0]}: has the ids of another release than {own}, as have {len(others)} of "
                f"{len(checked)} labels that were checked; unpack the labels of {own} again"
            )
        return images, labels
