"""What a server takes: names, sizes, ids and packaging as facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from ibnseg.datasets.labels import ClassSet


class Target(NamedTuple):
    """A benchmark or challenge that predictions are submitted to."""

    name: str
    title: str
    domain: str  # the official one
    dataset: str  # the adapter of its images
    class_set: ClassSet
    ids: Mapping[int, int]  # train ids to those in the archive
    modes: tuple[str, ...]  # of Pillow, that a member may have
    size: tuple[int, int]  # (width, height) of each official image
    counts: Mapping[str, int]  # of the official images, by split
    is_verified: bool  # against an official tool; otherwise reconstructed from documents
    drivable_release: str | None = None  # whose ids a drivable map has

    @property
    def basis(self) -> str:
        """What stands behind the form of its archives, in words."""
        return (
            "verified against an official tool"
            if self.is_verified
            else "reconstructed from documents"
        )

    def member(self, key: str) -> str:
        """The name in the archive of an image's prediction, by the key that its adapter gives it:
        all lie flat, and are called as the image."""
        return f"{PurePosixPath(key).name}.png"
