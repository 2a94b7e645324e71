"""Lists the appearances in which images are shown: as they are, the paper's, conditions of the
road with severities, and the looks of other images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, SEVERITIES, Condition, Look
from ibnseg.appearance.look import BETA
from ibnseg.support.errors import UserError, unknown_name

ORIGIN = "origin"

Image = np.ndarray
"""(H, W, 3) RGB: uint8, or float32 on the scale of 0 to 255, not clipped."""


@dataclass(frozen=True)
class Corruption:
    """A way to show an image; the one called ``origin`` leaves it as it is."""

    name: str
    change: Callable[[np.ndarray, np.random.Generator], Image]
    """Maps (H, W, 3) uint8 RGB and a random generator to the changed image."""
    severity: int | None = None
    """The severity of a condition, from 1."""
    parameter: float | None = None
    """The condition's parameter at this severity."""
    source: str = ""
    """A hash of the look that the image is given, if there is one."""

    @property
    def key(self) -> str:
        """The name under which counts are kept: equal keys are equal corruptions."""
        return "/".join(
            str(x) for x in (self.name, self.parameter, self.source) if x not in (None, "")
        )


def corruptions(
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    looks: Mapping[str, Look] | None = None,
) -> list[Corruption]:
    """Returns the corruptions that are measured; ``origin`` is always the first.

    Args:
        names: names in :data:`~ibnseg.appearance.PAPER`, :data:`~ibnseg.appearance.CONDITIONS` and
            :data:`~ibnseg.appearance.LOOKS`; all if None.
        severities: severities of the conditions.
        looks: the looks that images are given, by their names.

    Raises:
        UserError: for an unknown name or severity, and for a name that needs a look without one.
    """
    looks = looks or {}
    for name in names or ():
        if name not in {**PAPER, **CONDITIONS, **LOOKS}:
            raise unknown_name("condition", name, [*PAPER, *CONDITIONS, *LOOKS])
        if name in LOOKS and not looks:
            raise UserError(f"condition '{name}' needs a look; name one, e.g. --look cityscapes")
    for severity in severities:
        if severity not in SEVERITIES:
            raise UserError(f"severity {severity}: expected 1 to {SEVERITIES[-1]}")
    wanted = [*PAPER, *CONDITIONS, *LOOKS] if names is None else names
    found = [Corruption(ORIGIN, lambda image, rng: image)]
    for name, change in PAPER.items():
        if name in wanted and name != ORIGIN:
            found.append(Corruption(name, partial(_in_floats, change)))
    for name, condition in CONDITIONS.items():
        for severity in sorted(set(severities)) if name in wanted else ():
            change = partial(_at, condition, severity)
            parameter = condition.severities[severity - 1]
            found.append(Corruption(name, change, severity, parameter))
    for whose, look in looks.items():
        for name, change in LOOKS.items():
            if name in wanted:
                source = hashlib.sha256(
                    b"".join(np.float32(x).tobytes() for x in (*vars(look).values(), BETA))
                ).hexdigest()[:12]
                own = partial(_with_look, change, look)
                found.append(Corruption(f"{name} of {whose}", own, source=source))
    return found


def _in_floats(change: Callable, image: np.ndarray, rng: np.random.Generator) -> Image:
    return change(image.astype(np.float32))


def _at(condition: Condition, severity: int, image: np.ndarray, rng: np.random.Generator) -> Image:
    return condition.at(image, severity, rng)


def _with_look(change: Callable, look: Look, image: np.ndarray, rng: np.random.Generator) -> Image:
    return change(image, look)
