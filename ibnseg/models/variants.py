"""The table of IBN-Net's variants: which normalisation each has in which place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Variant(NamedTuple):
    """The normalisations of a residual network.

    Each is ``BN``, ``IN``, ``IBN`` (some channels through IN, the others through BN) or ``IN|BN``
    (all channels through both, side by side, so that the next convolution has twice the input).
    """

    stem: str
    """The normalisation behind the first convolution of the network."""
    first: str
    """The normalisation behind the first convolution of a block."""
    second: str
    """The normalisation behind the second convolution of a block."""
    others: str
    """The normalisation behind the third convolution of a block, and that behind its shortcut's."""
    sum: str | None
    """The normalisation between addition and ReLU in the last block of a stage, if there is one."""


PLAIN = Variant("BN", "BN", "BN", "BN", None)

# Pan et al., "Two at Once" (ECCV 2018), figure 3 and table 3; "in" (IN alone) is plain's opposite
VARIANTS: dict[str | None, Variant] = {
    # name         stem   first    second others sum
    None: PLAIN,
    "a": Variant("BN", "IBN", "BN", "BN", None),
    "b": Variant("IN", "BN", "BN", "BN", "IN"),
    "c": Variant("BN", "IN|BN", "BN", "BN", None),
    "d": Variant("IBN", "BN", "BN", "BN", "IBN"),
    "a&d": Variant("IBN", "IBN", "BN", "BN", "IBN"),
    "ax2": Variant("BN", "IBN", "IBN", "BN", None),
    "in": Variant("BN", "IN", "IN", "IN", None),
}
BLOCKS = (True, True, True, False)
"""Whether the blocks of each stage have the variant's normalisations, by default."""
SUMS = (True, True, False, False)
"""Whether the last block of each stage normalises its sum, by default."""


class Placement(NamedTuple):
    """The normalisations of one stage (or the stem), and the share of IN in its IBN layers."""

    norms: Variant
    ratio: float


def place(
    network: str,
    variant: str | None,
    stages: Sequence[bool] | None,
    ratio: float | Sequence[float] | None,
    allowed: Sequence[str | None] = tuple(VARIANTS),
    default_ratio: float = 0.5,
    count: int = 4,
) -> list[Placement]:
    """Decides the normalisations of each stage of a network.

    Args:
        network: what error messages call it.
        variant: a key of :data:`VARIANTS`.
        stages: for each stage, whether it has the variant's normalisations; if ``None``, its blocks
            have them as :data:`BLOCKS` says, and its sums as :data:`SUMS` says.
        ratio: the share of channels for IN in IBN layers, in [0, 1], one for all stages or one for
            each; ``None`` for ``default_ratio``.
        allowed: the variants that the network has.
        default_ratio: the share in the published network.
        count: number of stages.

    Returns:
        A placement for each stage. The stem, which is no stage, follows ``variant`` and the first
        ratio.

    Raises:
        ValueError: for a variant that is not allowed, stages or ratios of another length or kind,
            or either of them if the variant has nothing that they could change.
    """
    if not (variant is None or isinstance(variant, str)) or variant not in allowed:
        raise ValueError(f"{network}: unknown variant {variant!r}, expected one of {allowed}")
    row = VARIANTS[variant]
    ratios = _ratios(network, row, variant, ratio, default_ratio, count)
    if stages is None:
        blocks, sums = BLOCKS[:count], SUMS[:count]
    elif variant is None:
        raise ValueError(f"{network}: stages={stages!r} needs a variant, e.g. variant='a'")
    else:
        blocks = sums = _stages(network, stages, count)
    return [
        Placement(
            (row if in_block else PLAIN)._replace(stem=row.stem, sum=row.sum if in_sum else None),
            share,
        )
        for in_block, in_sum, share in zip(blocks, sums, ratios, strict=True)
    ]


def _stages(network: str, stages: object, count: int) -> Sequence[bool]:
    listed = isinstance(stages, Sequence) and not isinstance(stages, str)
    if not listed or len(stages) != count or not all(isinstance(s, bool) for s in stages):
        raise ValueError(
            f"{network}: stages={stages!r}, expected {count} of True and False, "
            f"e.g. {BLOCKS[:count]}"
        )
    return stages


def _ratios(
    network: str, row: Variant, variant: str | None, ratio: object, default: float, count: int
) -> list[float]:
    if ratio is None:
        return [default] * count
    if "IBN" not in row:
        raise ValueError(
            f"{network}: ratio={ratio!r} needs a variant with IBN layers; {variant!r} has none"
        )
    ratios = list(ratio) if isinstance(ratio, Sequence) else [ratio] * count
    numbers = [r for r in ratios if isinstance(r, (int, float)) and not isinstance(r, bool)]
    if len(ratios) != count or len(numbers) != count or not all(0 <= r <= 1 for r in numbers):
        raise ValueError(
            f"{network}: ratio={ratio!r}, expected a number in [0, 1], or {count} of them"
        )
    return numbers
