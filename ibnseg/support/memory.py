"""Turns out-of-memory errors into one actionable message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from ibnseg.support.errors import UserError

TELLTALES = ("can't allocate memory", "not enough memory")
"""What torch's CPU allocator says, in a plain RuntimeError."""


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Turns running out of memory, of the GPU or the machine, into a UserError.

    Args:
        what: what the memory is needed for.
        advice: what to do if there is too little.

    Raises:
        UserError: "too little memory for <what>; <advice>".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        plain = not isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if plain and not any(words in str(error) for words in TELLTALES):
            raise
        raise UserError(f"too little memory for {what}; {advice}") from error


def enough_memory_for_image(
    name: str | Path | None, size: tuple[int, int], *, windows: bool = False
) -> AbstractContextManager[None]:
    """Turns running out of memory while a network sees an image into a UserError.

    Args:
        name: the image's name or path, if it has one.
        size: (height, width) of the image in pixels.
        windows: whether sliding windows are used already; their sums have the image's size.

    Raises:
        UserError: as :func:`enough_memory`; it suggests smaller images, or sliding windows or
            smaller ones.
    """
    height, width = size
    if windows:
        advice = "smaller windows: --cfg-options model.test_cfg.crop_size=256,256 "
        advice += "model.test_cfg.stride=192,192"
    else:
        advice = "sliding windows: --cfg-options model.test_cfg.mode=slide "
        advice += "model.test_cfg.crop_size=512,512 model.test_cfg.stride=384,384"
    what = f"{name or 'the image'} ({width}x{height}{' in windows' if windows else ''})"
    return enough_memory(what, f"take a smaller image, or {advice}")
