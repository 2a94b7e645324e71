"""Finds a network's layers, and takes the mean of each of their channels over an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import torch
from mmseg.models.backbones import ResNet
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.analysis.divergence.moments import REPLICATES, FeatureMoments
from ibnseg.models.borrowed import Borrowed
from ibnseg.models.densenet import IBNDenseNet
from ibnseg.models.resnet import IBNResNet
from ibnseg.models.vit import ViT
from ibnseg.support.errors import UserError, unknown_name

Images = np.ndarray | Tensor

ALL = slice(None)


class Layer(NamedTuple):
    """A layer whose features are measured."""

    name: str  # the name in tables and plots
    module: str  # the name of the module whose output is taken
    rectified: bool = False  # whether a ReLU that is not a module follows, which is then applied


def _of_resnet(backbone: IBNResNet | ResNet) -> list[Layer]:
    """The stem after its ReLU, and each residual block after its last ReLU; 17 layers for
    ResNet50."""
    blocks = [
        f"{stage}.{block}"
        for stage in backbone.res_layers
        for block, _ in backbone.get_submodule(stage).named_children()
    ]
    stem = Layer("stem", "backbone.stem" if backbone.deep_stem else "backbone.relu")
    return [stem, *(Layer(block, f"backbone.{block}") for block in blocks)]


def _of_densenet(backbone: IBNDenseNet) -> list[Layer]:
    """The stem after its ReLU, and each dense block after the BN and the ReLU that follow it."""
    norms = ("transition1.norm", "transition2.norm", "transition3.norm", "norm5")
    blocks = [
        Layer(f"denseblock{i}", f"backbone.features.{norm}", rectified=True)
        for i, norm in enumerate(norms, start=1)
    ]
    return [Layer("stem", "backbone.features.relu0"), *blocks]


def _of_vit(backbone: ViT) -> list[Layer]:
    """The outputs of the transformer's blocks that the backbone runs."""
    return [Layer(f"block{i}", f"backbone.blocks.{i}") for i in range(backbone.blocks_run)]


DEFAULTS: dict[type, Callable[[nn.Module], list[Layer]]] = {
    IBNResNet: _of_resnet,
    ResNet: _of_resnet,
    IBNDenseNet: _of_densenet,
    ViT: _of_vit,
}
"""Functions that list the layers that are measured by default, by the kind of backbone."""


def find_layers(network: nn.Module, patterns: Sequence[str] | None = None) -> list[Layer]:
    """Finds the layers to measure, in the network's order.

    Args:
        network: a model of mmseg's kind, with a ``backbone``.
        patterns: names of modules, or shell-style patterns of them, e.g. ``backbone.layer?``; if
            None, the layers are those of ``DEFAULTS``.

    Raises:
        UserError: for a pattern that no module matches, with near names; for modules of a network
            that gives (N, H, W, C), e.g. Swin; and, without patterns, for a backbone that has no
            default.
    """
    if patterns is None:
        for kind, layers in DEFAULTS.items():
            if isinstance(network.backbone, kind):
                return layers(network.backbone)
        own = next(name for name, each in network.named_modules() if each is network.backbone)
        parts = [f"{own}.{name}" for name, _ in network.backbone.named_children()]
        raise UserError(
            f"no layers are known for {type(network.backbone).__name__}; name modules with "
            f"--layers, e.g. {','.join(parts) or own}"
        )
    names = [name for name, _ in network.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, cutoff=0.5)
            outer = [name for name in names if name.count(".") < 2]
            raise unknown_name("layer of the network", pattern, near or outer)
    found = [Layer(n, n) for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]
    backbone = network.backbone
    if isinstance(backbone, Borrowed) and backbone.has_channels_last:
        inside = [layer.name for layer in found if layer.name.startswith("backbone.")]
        if inside:
            raise UserError(
                f"layer '{inside[0]}': modules of {backbone.name} have channels as the last axis, "
                "which cannot be told from the width; take --layers backbone, its first feature"
            )
    return found


def spatial_means(layer: str, output: object, patches: slice = ALL) -> Tensor:
    """Takes the mean of each channel over each image.

    Args:
        layer: what errors call the layer.
        output: a module's output: ``(N, C, H, W)``, or tokens, ``(N, L, C)``; the first of several.
        patches: which of the tokens count; those in front of them, such as the class token, and
            behind them, such as queries, are left out.

    Returns:
        (N, C) float32, on the output's device.

    Raises:
        UserError: for any other output.
    """
    while isinstance(output, (list, tuple)) and output:
        output = output[0]
    if isinstance(output, Tensor) and output.ndim in (3, 4):
        if output.ndim == 3:
            return output[:, patches].float().mean(dim=1)
        return output.float().mean(dim=(2, 3))
    found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise UserError(
        f"layer '{layer}': its output is of {found}, expected (N, C, H, W), or tokens, (N, L, C)"
    )


@contextmanager
def watching(
    network: nn.Module, layers: Sequence[Layer]
) -> Iterator[Callable[[Images], dict[str, np.ndarray]]]:
    """Provides a function that maps images to the spatial means of layers, by the layers' names.

    The function takes (N, H, W, 3), RGB on the scale of 0 to 255, uint8 or floating point, arrays
    or tensors, and returns (N, C) float64 for each layer. Images go through the network's own
    preprocessing, whole and at their size, with no gradients; floating-point ones are not clipped.
    If a module is called several times for an image, its last output counts.

    Args:
        network: from :func:`ibnseg.load`, or any model of mmseg, in eval mode.
        layers: from :func:`find_layers`.

    Raises:
        UserError: from the function, for images of another shape, and for a layer that is not run,
            or whose output has no channels.
    """
    means: dict[str, Tensor] = {}
    is_vit = isinstance(network.backbone, ViT)
    patches = ALL

    def hook(layer: Layer) -> Callable[[nn.Module, tuple, object], None]:
        # an adapter is given the patches alone
        has_others = layer.module.startswith("backbone.") and not layer.module.startswith(
            "backbone.adapter."
        )

        def look(module: nn.Module, inputs: tuple, output: object) -> None:
            seen = output.relu() if layer.rectified else output
            if getattr(module, "output_fmt", None) == "NHWC":  # timm's PatchEmbed
                seen = seen.movedim(-1, 1)
            counted = patches if has_others else ALL
            means[layer.name] = spatial_means(layer.name, seen, counted)

        return look

    whole = any(not layer.module.startswith(("backbone.", "neck.")) for layer in layers)
    whole |= is_vit and network.backbone.handed_over > 0  # its last blocks are run by the head

    @torch.inference_mode()
    def means_of(images: Images) -> dict[str, np.ndarray]:
        nonlocal patches
        means.clear()
        inputs = _normalised(network, images)
        if is_vit:
            patches = network.backbone.patches(network.backbone.grid(inputs))
        if whole:
            network(inputs, mode="tensor")
        else:
            network.extract_feat(inputs)
        for layer in layers:
            if layer.name not in means:
                raise UserError(f"layer '{layer.name}' is not run in testing; leave it out")
        found = [means[layer.name] for layer in layers]
        together = torch.cat(found, dim=1).cpu().numpy().astype(np.float64)  # from a GPU at once
        ends = np.cumsum([each.shape[1] for each in found])[:-1]
        return {
            layer.name: part
            for layer, part in zip(layers, np.split(together, ends, axis=1), strict=True)
        }

    hooks = [
        network.get_submodule(layer.module).register_forward_hook(hook(layer)) for layer in layers
    ]
    try:
        yield means_of
    finally:
        for each in hooks:
            each.remove()


def _normalised(network: nn.Module, images: Images) -> Tensor:
    """Applies a network's preprocessing to images; returns (N, 3, H, W)."""
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))  # a view may run backwards
    if images.ndim != 4 or images.shape[-1] != 3 or images.numel() == 0:
        raise UserError(
            f"images: found an array of shape {tuple(images.shape)}, expected (N, H, W, 3), RGB"
        )
    bgr = images.flip(-1).movedim(-1, 1)  # as images are read, and preprocessing expects them
    size = tuple(images.shape[1:3])
    samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in images]
    data = dict(inputs=list(bgr), data_samples=samples)
    return network.data_preprocessor(data, training=False)["inputs"]


def feature_moments(
    network: nn.Module,
    batches: Iterable[Images],
    layers: Sequence[str] | None = None,
    replicates: int = REPLICATES,
    key: Sequence[int] = (0,),
) -> FeatureMoments:
    """Measures the moments of a network's layers over a set of images, in one pass.

    Args:
        network: from :func:`ibnseg.load`, or any model of mmseg, in eval mode.
        batches: batches of images as the function of :func:`watching` takes them, of any sizes.
        layers: the patterns of :func:`find_layers`.
        replicates, key: those of the bootstrap, as for ``FeatureMoments``.
    """
    moments = FeatureMoments(replicates, key)
    with watching(network, find_layers(network, layers)) as means_of:
        for images in batches:
            moments.update(means_of(images))
    return moments
