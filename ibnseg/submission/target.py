"""Describes what a server takes: names, sizes, ids and packaging."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from ibnseg.datasets.labels import ClassSet


class Target(NamedTuple):
    """A benchmark or challenge that predictions are submitted to."""

    name: str
    title: str
    domain: str  # the name of the official domain
    dataset: str  # the type of the adapter of its images
    class_set: ClassSet
    ids: Mapping[int, int]  # from train ids to the ids in the archive
    modes: tuple[str, ...]  # the modes, in Pillow's words, that a member may have
    size: tuple[int, int]  # (width, height) of each official image
    counts: Mapping[str, int]  # the number of official images of each split
    is_verified: bool  # whether an official tool has accepted it; otherwise it is from documents
    drivable_release: str | None = None  # the release whose ids a drivable map has

    @property
    def basis(self) -> str:
        """How the form of its archives is known, in words."""
        return (
            "verified against an official tool"
            if self.is_verified
            else "reconstructed from documents"
        )

    def member(self, key: str) -> str:
        """Returns the name of a prediction in the archive: that of its image, in no folder.

        Args:
            key: the key that the adapter gives the image.
        """
        return f"{PurePosixPath(key).name}.png"
