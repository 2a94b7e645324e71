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
    name: str | Path | None, size: tuple[int, int]
) -> AbstractContextManager[None]:
    """Turns running out of memory while a network sees an image into a UserError.

    Args:
        name: the image's name or path, if it has one.
        size: (height, width) of the image in pixels.

    Raises:
        UserError: as :func:`enough_memory`; it suggests smaller images or sliding windows.
    """
    height, width = size
    return enough_memory(
        f"{name or 'the image'} ({width}x{height})",
        "take a smaller image, or sliding windows: --cfg-options model.test_cfg.mode=slide "
        "model.test_cfg.crop_size=512,512 model.test_cfg.stride=384,384",
    )
