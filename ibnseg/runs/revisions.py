"""What this version learns otherwise than earlier ones did from the same config, in one table.

A run's config names the revisions that it was trained under, and its recipe has those that concern
it. So a run of an earlier version has another recipe: it is never averaged as a seed with later
runs, and is not resumed, because a training that changes midway is neither the one nor the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ibnseg.runs.keys import KEYS

REVISION = "revision: "
"""The beginning of the names under which a recipe holds revisions."""


@dataclass(frozen=True)
class Revision:
    """One change of what is learnt."""

    name: str
    before: str
    """What an earlier run was trained with, for the message that refuses to resume it."""
    concerns: Callable[[Mapping], bool]
    """Whether a config learns otherwise since."""


def _is_bilinear(cfg: Mapping) -> bool:
    return cfg.get("interpolation", KEYS["interpolation"].default) == "bilinear"


def _divides_by_labels(cfg: Mapping) -> bool:
    """Whether a cross entropy divides by the labelled pixels, or by their weights.

    How many processes shared a batch is no part of a recipe, so this does not ask for it.
    """
    losses = (each for each in _dicts(cfg.get("model")) if each.get("type") == "CrossEntropyLoss")
    weighted = any(each.get("avg_non_ignore") or each.get("class_weight") for each in losses)
    return weighted or bool(cfg.get("class_balance"))


def _dicts(value: object) -> Iterator[Mapping]:
    """Yields all dicts in nested dicts and lists."""
    if isinstance(value, Mapping):
        yield value
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for each in value:
        yield from _dicts(each)


REVISIONS = {
    revision.name: revision
    for revision in (
        # bicubic trainings resize by Pillow, which has no such offset
        Revision(
            "centred labels",
            "labels half a pixel right of and below their images",
            _is_bilinear,
        ),
        Revision(
            "means over the whole batch",
            "losses that each process and each of its parts divided by its own labels",
            _divides_by_labels,
        ),
    )
}


def revisions_of(cfg: Mapping) -> dict[str, bool]:
    """The revisions that a training was made under and that concern it, as a recipe holds them.

    Args:
        cfg: a run's expanded config. A revision of a later version concerns it.
    """
    names = cfg.get("revisions") or ()
    concern = [n for n in names if n not in REVISIONS or REVISIONS[n].concerns(cfg)]
    return {REVISION + name: True for name in concern}


def why_not_resumed(revision: str) -> str:
    """Why a run is not resumed, and what to do, if this revision of its recipe is not that of a
    training by this version.

    Args:
        revision: its name in the recipe.
    """
    name = revision.removeprefix(REVISION)
    if name in REVISIONS:
        return (
            f"was begun by an earlier version, with {REVISIONS[name].before}, and would go on "
            "without; finish it by that version"
        )
    return f"was begun by a later version, with {name}; finish it by that version"
