"""Reads the frames of video files, and writes pictures as a video file, by OpenCV."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log

from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.reading import regular_file

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
CODEC = "mp4v"
"""MPEG-4 part 2, which every build of OpenCV writes."""


class UnreadableError(UserError):
    """A video that is no file, or of which no frame can be read."""


class VideoFacts(NamedTuple):
    """What a video file states of itself."""

    frames: int  # their number, of which fewer may be readable; 0 if unknown
    rate: float  # frames per second


def read_facts(path: str | Path) -> VideoFacts:
    """Reads what a video file states of itself; a rate that makes no sense is taken as 25.

    Raises:
        UnreadableError: if it cannot be opened.
    """
    video = _open(path)
    try:
        frames, rate = (video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    finally:
        video.release()
    return VideoFacts(max(0, int(frames)), rate if 0 < rate <= 1000 else 25.0)


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video, (H, W, 3) uint8, BGR; warns if there are fewer than announced.

    Raises:
        UnreadableError: if it cannot be opened, or has no frame that can be read.
    """
    announced, count, video = read_facts(path).frames, 0, _open(path)
    try:
        while True:
            is_there, frame = video.read()
            if not is_there:
                break
            count += 1
            yield frame
    finally:
        video.release()
    if not count:
        raise UnreadableError(f"{path}: none of its frames can be read; is it a whole video file?")
    if count < announced:
        message = f"{path}: {count} of {announced} frames could be read; the file may be truncated"
        print_log(message, "current", logging.WARNING)


def _open(path: str | Path) -> cv2.VideoCapture:
    try:
        video = cv2.VideoCapture(str(regular_file(path)))
    except UserError as error:
        raise UnreadableError(str(error)) from error
    if not video.isOpened():
        raise UnreadableError(f"{path}: cannot be opened as a video; is it a whole video file?")
    return video


@contextmanager
def writing(path: str | Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that adds a picture to a video, which is written whole or not at all.

    The pictures are (H, W, 3) uint8, RGB, all of one size; a white row or column is added to odd
    sizes, which codecs do not take.

    Args:
        path: its suffix is .mp4.
        rate: frames per second.

    Raises:
        UserError: if this build of OpenCV cannot write it, or the disk is full.
    """
    writer, frames = None, 0
    with written_whole(path) as temporary:

        def write(picture: np.ndarray) -> None:
            nonlocal writer, frames
            frames += 1
            height, width = picture.shape[:2]
            even = cv2.copyMakeBorder(
                picture, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=(255,) * 3
            )
            if writer is None:
                size = even.shape[1::-1]
                codec = cv2.VideoWriter.fourcc(*CODEC)
                writer = cv2.VideoWriter(str(temporary), codec, rate, size)
                if not writer.isOpened():
                    raise UserError(f"{path}: this build of OpenCV cannot write {CODEC} video")
            writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        if frames and not _can_be_read(temporary, frames):  # OpenCV does not report a full disk
            raise OSError("OpenCV has not written all frames")


def _can_be_read(path: Path, frames: int) -> bool:
    """Whether a video has a number of frames, the last of which can be read."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened() or round(video.get(cv2.CAP_PROP_FRAME_COUNT)) != frames:
        return False
    video.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
    return video.read()[0]
