"""Lists images that lie in a sub-folder for each class, and crops them as ImageNet is tested."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import CenterCrop, Compose, Resize

from ibnseg.datasets.pictures import MOST_BYTES, UNREADABLE, unreadable, verify
from ibnseg.support.data_files import (
    IMAGE_SUFFIXES,
    count_by_suffix,
    has_suffix,
    list_files_below,
    list_folders,
)
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path
from ibnseg.support.reading import read_bytes

RESIZE, CROP = 256, 224


class Listing(NamedTuple):
    """The images of a folder that has a sub-folder for each class."""

    folder: Path
    classes: list[str]
    """Names of the sub-folders, sorted."""
    paths: list[str]
    """Paths of the N images, relative to the folder."""
    truth: np.ndarray
    """(N,) int64 indices of their classes."""
    stamps: np.ndarray
    """(N, 2) int64: size in bytes and time of change in ns; they show that an image has changed."""
    left_out: str = ""
    """What else lies in the sub-folders, counted in words."""


def list_images(folder: str | Path, like: Listing | None = None) -> Listing:
    """Lists a folder's images.

    Args:
        folder: has a sub-folder for each class.
        like: a listing whose classes, and their indices, are used instead of the folder's own.

    Raises:
        UserError: for a missing folder, one without sub-folders or images, and a sub-folder that is
            no class of ``like``.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one with a sub-folder for each class")
    classes = [each.name for each in list_folders(folder)]
    if not classes:
        raise UserError(f"{folder}: has no sub-folders; expected one for each class")
    if like is not None:
        for name in classes:
            if name not in like.classes:
                raise UserError(
                    f"{folder}: sub-folder '{name}' is not one of {like.folder}; expected the same "
                    "classes"
                )
        classes = like.classes
    there = [
        (path, index)
        for index, name in enumerate(classes)
        for path in list_files_below(folder / name)
    ]
    found = [(path, index) for path, index in there if has_suffix(path, IMAGE_SUFFIXES)]
    left_out = [path for path, _ in there if not has_suffix(path, IMAGE_SUFFIXES)]
    if not found:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in its sub-folders")
    stats = [path.stat() for path, _ in found]
    return Listing(
        folder,
        classes,
        [path.relative_to(folder).as_posix() for path, _ in found],
        np.array([index for _, index in found], np.int64),
        np.array([(stat.st_size, stat.st_mtime_ns) for stat in stats], np.int64),
        count_by_suffix(left_out),
    )


class Crops(Dataset):
    """Images as the network sees them: the short edge is resized to 256 pixels bilinearly, and the
    224x224 pixels in the centre are cut out.

    An item is the image's index and (224, 224, 3) uint8, RGB. Pixels are taken as they are stored;
    the EXIF orientation is not applied, as in torchvision's ``ImageFolder``.

    Raises:
        UserError: for an item that cannot be read.
    """

    def __init__(self, listing: Listing) -> None:
        self.files = [listing.folder / path for path in listing.paths]
        self.transform = Compose([Resize(RESIZE), CenterCrop(CROP)])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        try:
            content = read_bytes(self.files[index], MOST_BYTES)
            verify(content)
            with Image.open(io.BytesIO(content)) as image:
                return index, np.array(self.transform(image.convert("RGB")))
        except UNREADABLE as error:
            raise unreadable(self.files[index], error) from error
