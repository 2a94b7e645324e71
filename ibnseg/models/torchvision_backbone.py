"""torchvision's classification networks as backbones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import log2

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from ibnseg.models.borrowed import Borrowed, FeatureMap, initial_weights
from ibnseg.models.pretrained import CLASSIFIERS
from ibnseg.registry import MODELS
from ibnseg.support.errors import building, unknown_name

NATIVE = 32
"""The stride of the last map of most networks."""
DILATED = {8: (False, True, True), 16: (False, False, True), NATIVE: (False, False, False)}
"""torchvision's ``replace_stride_with_dilation`` by the stride of the last map."""
HEADS = (*CLASSIFIERS, "head.", "heads.")
"""Prefixes of the classifiers of torchvision's networks."""


@MODELS.register_module()
class Torchvision(Borrowed):
    """A classification network of torchvision as a backbone.

    Its maps are numbered by their strides in the network as published, the finest first: each is
    the output of the last module of its stride (torchvision's ``create_feature_extractor``). Most
    networks have five, of strides 2, 4, 8, 16 and 32; ConvNeXt and Swin have four. The map of a
    DenseNet's block is its output in front of the next BN.

    The names in the state dict are torchvision's, so that its files fit. What is behind the last
    of ``out_indices`` is not built.

    Args:
        name: one of ``torchvision.models.list_models(module=torchvision.models)``, e.g.
            ``"mobilenet_v2"``.
        weights: the initial weights: torchvision's name of them (``"DEFAULT"``,
            ``"IMAGENET1K_V1"``), a path or an address; short for ``init_cfg=dict(type='Pretrained',
            checkpoint=...)``. By default the network starts from torchvision's random ones.
        out_indices: which maps are given, in ascending order; negative ones count from the last. By
            default those of stride 4 and more.
        output_stride: the stride of the last map: 8 or 16, by dilation, only for ResNets with
            bottlenecks, or the network's own.
        frozen_stages: the number of the last map that is not trained, nor anything that comes
            before it; -1 for none. If it is the last map's, nothing is trained.
        norm_eval: whether BN keeps its running statistics in training.
        options: further arguments of torchvision's function, e.g. ``dict(width_mult=0.5)``.
        init_cfg: mmengine's config of the initial weights.

    Attributes:
        out_channels: channels of the features, one for each of ``out_indices``.
        feature_strides: their strides in pixels.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``.

    Raises:
        UserError: for an unknown name or unknown weights, and for options that the network does not
            take; from ``init_weights``, if weights do not fit exactly.
        ValueError: for a network without feature maps for images of any size, an output stride
            that it cannot have, out_indices or frozen_stages that it does not have.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        out_indices: Sequence[int] | None = None,
        *,
        output_stride: int | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        options: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        address = None if weights is None else _address(name, weights)
        init_cfg = initial_weights("Torchvision", address, init_cfg)
        network, shapes = _build(name, output_stride, options or {})
        maps = [FeatureMap(module, channels, stride) for module, channels, stride, _ in shapes]
        super().__init__(name, maps, out_indices, frozen_stages, norm_eval, init_cfg)
        self._is_channels_last = [shapes[i][-1] for i in self.out_indices]
        self.has_channels_last = any(self._is_channels_last)
        extractor = create_feature_extractor(
            network,
            {maps[i].module: str(i) for i in self.out_indices},
            tracer_kwargs=dict(leaf_modules=[type(unit) for _, unit in _units(network)]),
            suppress_diff_warning=True,
        )
        # its parts become this module's, under their names, and its code runs on this module
        for part in ("_modules", "_parameters", "_buffers"):
            setattr(self, part, getattr(extractor, part))
        self._run = type(extractor.eval()).forward
        self.left_out = tuple({*network.state_dict()} - {*self.state_dict()})
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self._run(self, x).values()
        return tuple(
            each.permute(0, 3, 1, 2).contiguous() if last else each
            for each, last in zip(features, self._is_channels_last, strict=True)
        )


def _address(name: str, weights: str) -> str:
    _require_known(name)
    known = {each.name: each.url for each in models.get_model_weights(name)}
    if weights == "DEFAULT":
        return models.get_model_weights(name).DEFAULT.url
    if weights.isupper() and weights not in known:
        raise unknown_name(f"weights of {name}", weights, known)
    return known.get(weights, weights)


def _require_known(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("network of torchvision", name, known)


def _build(
    name: str, output_stride: int | None, options: dict
) -> tuple[nn.Module, list[tuple[str, int, int, bool]]]:
    """Builds a network.

    Returns:
        The network, and module, channels and stride of each of its maps, and whether its channels
        are the last axis.
    """
    _require_known(name)
    with building(name):
        network = models.get_model(name, weights=None, **options)
    shapes = _shapes(name, network)
    by_stride = {stride: module for module, (_, stride, _) in shapes.items()}
    if output_stride is not None and output_stride != max(by_stride):
        network = _dilated(name, output_stride, options)
        shapes = _shapes(name, network)
    return network, [(by_stride[s], *shapes[by_stride[s]]) for s in sorted(by_stride)]


def _dilated(name: str, output_stride: int, options: dict) -> nn.Module:
    dilated = DILATED.get(output_stride)
    try:
        if dilated is not None:
            return models.get_model(
                name, weights=None, replace_stride_with_dilation=dilated, **options
            )
    except (TypeError, NotImplementedError):  # no such argument; no such block
        pass
    raise ValueError(
        f"Torchvision: {name} cannot have output_stride={output_stride!r}; bottleneck ResNets can "
        "have 8 and 16, and so can ibnseg.IBNResNet and many networks of ibnseg.Timm"
    )


def _units(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that a network consists of, with their names; plain sequences are taken apart."""
    for name, child in network.named_children():
        if type(child) is nn.Sequential:
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


SIZE = (448, 640)
"""Height and width of the image by which maps are recognised; those of a map have their ratio."""


def _shapes(name: str, network: nn.Module) -> dict[str, tuple[int, int, bool]]:
    """Finds channels, stride and layout of the output of each module that is a map, in order."""
    shapes: dict[str, tuple[int, int, bool]] = {}

    def keep(unit: str):
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            shape = output.shape if isinstance(output, Tensor) and output.dim() == 4 else None
            if shape is None or unit.startswith(HEADS):
                return
            for last, (channels, *size) in enumerate((shape[1:], (shape[3], *shape[1:3]))):
                if stride := _stride(*size):
                    shapes[unit] = (channels, stride, bool(last))
                    return

        return hook

    probe = deepcopy(network).to("meta").eval()
    for unit, module in _units(probe):
        module.register_forward_hook(keep(unit))
    try:
        probe(torch.empty(1, 3, *SIZE, device="meta"))
    except Exception as error:  # whatever a network says about a size that is not its own
        raise ValueError(
            f"Torchvision: {name} takes images of one size alone "
            f"({error or type(error).__name__}); take ibnseg.ViT for a transformer, or a "
            "convolutional network"
        ) from error
    return shapes


def _stride(height: int, width: int) -> int | None:
    """The stride of a map of an image of :data:`SIZE`, a power of two; ``None`` if it is no map."""
    if min(height, width) < 2 or abs(height / width / (SIZE[0] / SIZE[1]) - 1) > 0.1:
        return None
    return 2 ** round(log2(SIZE[0] / height))
