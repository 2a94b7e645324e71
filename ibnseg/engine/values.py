"""Layers that do not fit what they are given, which shows when they first run: one line instead of
torch's traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ibnseg.support.errors import UserError

TOO_FEW = {
    "Expected more than 1 value per channel when training": (
        "a batch normalisation gets one value a channel, and one value has no variance; take two "
        "images or more at a time (raise batch, or lower accumulate or the number of processes), "
        "or raise crop_size"
    ),
    "Expected more than 1 spatial element when training": (
        "an instance normalisation gets one value a channel, and one value has no variance; raise "
        "crop_size"
    ),
}
"""What torch says of a normalisation over too little, and what is said instead."""

TOO_SMALL = ("Kernel size can't be greater than", "Output size is too small", "output size should")
OTHER_WIDTH = ("Given groups=", "shapes cannot be multiplied", "Given normalized_shape=")
"""What torch says of a layer that gets features of another width than it was made for."""


@contextmanager
def layers_fit() -> Iterator[None]:
    """Turns what torch raises of layers that do not fit what they are given into a UserError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else ""
        for words, message in TOO_FEW.items():
            if words in said:
                raise UserError(message) from error
        if any(words in said for words in TOO_SMALL):
            raise UserError(
                f"crop_size leaves too little for a layer ({said}); raise it"
            ) from error
        if "weight tensor should be defined" in said:
            raise UserError(f"loss_decode.class_weight has another length ({said})") from error
        if any(words in said for words in OTHER_WIDTH):
            raise UserError(
                f"model: a layer does not fit what it is given ({said}); compare in_channels and "
                "in_index of the heads with the features of the backbone"
            ) from error
        raise


def pools_whole_images(network: nn.Module) -> bool:
    """Whether some layer makes one value a channel of an image, as ASPP does; a batch normalisation
    behind it cannot train on one image."""
    return any(
        isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))
        and module.output_size in (1, (1, 1))
        for module in network.modules()
    )
