"""A segmentor's features, layers and logits for each view of a batch, for losses that use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.support.errors import UserError, unknown_name

IMAGE = "image"
"""The name of the view that the network is trained on; further views have names of their own."""


class Activations:
    """The features, layers and logits of a segmentor for one view of a batch.

    Each is computed once, when it is first asked for. They always carry gradients, because several
    losses share them; a loss that needs none detaches them.

    Args:
        segmentor: a network with ``extract_feat`` and ``decode_head``.
        inputs: the view's images.
        layers: names of the modules whose outputs are kept.

    Attributes:
        inputs: (N, 3, H, W) float32, normalised.
    """

    def __init__(self, segmentor: nn.Module, inputs: Tensor, layers: Iterable[str] = ()) -> None:
        self.inputs = inputs
        self._segmentor, self._names = segmentor, tuple(layers)

    @cached_property
    def _extracted(self) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        with torch.enable_grad(), recorded(self._segmentor, self._names) as layers:
            features = self._segmentor.extract_feat(self.inputs)
        return features, layers

    @property
    def features(self) -> tuple[Tensor, ...]:
        """The backbone's outputs, (N, C, h, w) each; those of the neck if there is one."""
        return self._extracted[0]

    @property
    def layers(self) -> dict[str, Tensor]:
        """The outputs of the named modules, as they were before later layers changed them."""
        return self._extracted[1]

    @cached_property
    def outputs(self) -> Tensor | tuple[Tensor, ...]:
        """What the decode head gives, for its losses."""
        with torch.enable_grad():
            return self._segmentor.decode_head(self.features)

    @property
    def logits(self) -> Tensor:
        """The decode head's logits, (N, K, h, w), at its own resolution; if a head has several
        outputs, those of the first."""
        scores = self.outputs[0] if isinstance(self.outputs, (list, tuple)) else self.outputs
        return as_logits(self._segmentor.decode_head, scores)


def as_logits(head: nn.Module, scores: Tensor) -> Tensor:
    """Returns the logits of what a head gives; if it gives shares instead, it has an ``as_logits``,
    which makes logits of them."""
    return head.as_logits(scores) if hasattr(head, "as_logits") else scores


class Views(dict):
    """The activations of each view of a batch by the view's name, ``image`` first.

    Raises:
        UserError: if a view is asked for that the images do not have.
    """

    def __missing__(self, name: str) -> Activations:
        raise UserError(
            f"{unknown_name('view', name, self)}; an ibnseg.FurtherView in augment adds one"
        )


def views_of(
    segmentor: nn.Module,
    inputs: Tensor,
    data_samples: Sequence[SegDataSample],
    layers: Iterable[str] = (),
) -> Views:
    """Prepares the views of a batch: ``image``, and the further ones that its samples have.

    Args:
        segmentor: the network.
        inputs: (N, 3, H, W) float32.
        data_samples: N samples, whose ``views``, if they have any, hold (3, H, W) float32 tensors.
        layers: names of the modules whose outputs are kept.
    """
    views = Views({IMAGE: Activations(segmentor, inputs, layers)})
    first = data_samples[0]
    for name in first.views.keys() if "views" in first else ():
        stack = torch.stack([sample.views.get(name) for sample in data_samples])
        views[name] = Activations(segmentor, stack, layers)
    return views


@contextmanager
def recorded(network: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Fills a dict with the outputs of the named modules that run inside of the block.

    Outputs are copied, because the layer after a normalisation often works in place.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            outputs[name] = output.clone()

        return hook

    handles = [network.get_submodule(n).register_forward_hook(keep(n)) for n in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def layers_named(network: nn.Module, losses: Mapping[str, nn.Module]) -> list[str]:
    """Lists the modules of backbone and neck that losses name by patterns in their ``layers``, e.g.
    ``backbone.layer[12].*.IN``, in the network's order.

    Args:
        network: the segmentor.
        losses: the losses by the names that errors call them.

    Raises:
        ValueError: for a pattern that matches none.
    """
    names = (name for name, _ in network.named_modules())
    known = [name for name in names if name.split(".")[0] in ("backbone", "neck")]
    found = set()
    for of_loss, loss in losses.items():
        for pattern in getattr(loss, "layers", ()):
            matching = {name for name in known if fnmatchcase(name, pattern)}
            if not matching:
                raise ValueError(
                    f"{of_loss}: no module of the backbone or neck is called {pattern!r}"
                )
            found |= matching
    return [name for name in known if name in found]
