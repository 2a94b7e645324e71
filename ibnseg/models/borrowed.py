"""What other libraries' networks have in common as backbones: maps, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmengine.model import BaseModule
from torch import nn

from ibnseg.models.frozen import PartlyFrozen
from ibnseg.models.pretrained import Pretrainable


class FeatureMap(NamedTuple):
    """A map that a network of another library can give."""

    module: str
    """The name of the module whose output it is."""
    channels: int
    stride: int
    """Side of the part of the image for which one position stands, in pixels."""


def initial_weights(
    network: str, weights: str | None, init_cfg: dict | list[dict] | None
) -> dict | list[dict] | None:
    """Returns the config of the initial weights, for which ``weights`` alone is short.

    Raises:
        ValueError: if both are given.
    """
    if weights is None:
        return init_cfg
    if init_cfg is not None:
        raise ValueError(f"{network}: weights and init_cfg exclude each other")
    return dict(type="Pretrained", checkpoint=weights)


class Borrowed(Pretrainable, PartlyFrozen, BaseModule):
    """A classification network of another library as a backbone, with the names of its weights.

    Args:
        name: what the library calls the network.
        maps: all that it can give, the finest first.
        out_indices: which of them are given, in ascending order; negative ones count from the last.
            By default those of stride 4 and more, as the package's own backbones give them.
        frozen_stages: the number of the last map that is not trained, nor anything that comes
            before it; -1 for none. If it is the last map's, nothing is trained.
        norm_eval: whether BN keeps its running statistics in training.
        init_cfg: mmengine's config of the initial weights.

    Attributes:
        has_channels_last: whether modules inside of it give ``(N, H, W, C)``, as those of Swin do;
            its features are ``(N, C, H, W)`` nevertheless.

    Raises:
        ValueError: for out_indices or frozen_stages that the network does not have.
    """

    has_channels_last: bool

    def __init__(
        self,
        name: str,
        maps: Sequence[FeatureMap],
        out_indices: Iterable[int] | None,
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: dict | list[dict] | None,
    ) -> None:
        super().__init__(init_cfg)
        own, count = type(self).__name__, len(maps)
        self.name, self.maps = name, tuple(maps)
        wide = [i for i, each in enumerate(maps) if each.stride >= 4]
        given = wide if out_indices is None else list(out_indices)
        found = [i + count if isinstance(i, int) and i < 0 else i for i in given]
        if not found or found != sorted({*found} & {*range(count)}):
            strides = ", ".join(str(each.stride) for each in maps)
            raise ValueError(
                f"{own}: out_indices={out_indices!r}, expected ascending numbers of 0 to "
                f"{count - 1}, the maps of {name} (strides {strides})"
            )
        if frozen_stages not in range(-1, count):
            raise ValueError(
                f"{own}: frozen_stages={frozen_stages!r}, expected -1 for none, or the number of a "
                f"map of {name}, 0 to {count - 1}"
            )
        self.out_indices = tuple(found)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features, one for each of ``out_indices``."""
        return tuple(self.maps[i].channels for i in self.out_indices)

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the features in pixels, one for each of ``out_indices``."""
        return tuple(self.maps[i].stride for i in self.out_indices)

    def _frozen_modules(self) -> list[str]:
        if self.frozen_stages >= self.out_indices[-1]:  # nothing behind it has an effect
            return [name for name, _ in self.named_children()]
        return _up_to(self, self.maps[self.frozen_stages].module)

    def _freeze(self) -> None:
        super()._freeze()
        if self.frozen_stages >= 0:  # those in front of all modules, such as positions
            for parameter in self.parameters(recurse=False):
                parameter.requires_grad_(False)


def _up_to(network: nn.Module, last: str) -> list[str]:
    """Names the modules in front of one, in the order of registration, and those inside of it."""
    names = [name for name, _ in network.named_modules() if name]
    end = 1 + max(i for i, name in enumerate(names) if f"{name}.".startswith(f"{last}."))
    return [n for n in names[:end] if not any(b.startswith(f"{n}.") for b in names[end:])]


def require_map(backbone: Borrowed) -> None:
    """Refuses to freeze a network in part if its maps are not the outputs of its modules.

    Raises:
        ValueError: if that is so.
    """
    number = backbone.frozen_stages
    names = {name for name, _ in backbone.named_modules()}
    if 0 <= number < backbone.out_indices[-1] and backbone.maps[number].module not in names:
        raise ValueError(
            f"{type(backbone).__name__}: {backbone.name} can only be frozen as a whole, expected "
            f"frozen_stages=-1 or {len(backbone.maps) - 1}"
        )
