"""How images are shown to a network in testing; labels are always at their stored size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ibnseg.errors import unknown_name


@dataclass(frozen=True)
class Protocol:
    """A test protocol; its version is raised whenever numbers under it would change.

    The network's logits are upsampled bilinearly, once, to the size of the label.
    """

    name: str
    version: int
    source: str
    input_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(width, height) an image is resized to first, by dataset; others stay at their stored
    size."""


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("native", 1, "images and labels at their stored size"),
        Protocol(
            "paper",
            1,
            "Pan et al., ECCV 2018: GTA5 images resized to 1024x563",
            {"GTA5": (1024, 563)},
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: if there is none, with the nearest names.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
