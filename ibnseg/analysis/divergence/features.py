"""The features of a network's layers: which layers, and each channel's mean over an image."""

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
from ibnseg.models.densenet import IBNDenseNet
from ibnseg.models.resnet import IBNResNet
from ibnseg.support.errors import UserError, unknown_name

Images = np.ndarray | Tensor


class Layer(NamedTuple):
    """A layer whose features are looked at."""

    name: str  # in tables and plots
    module: str  # whose output it is
    rectified: bool = False  # whether the next layer sees it after a ReLU that is no module


def _of_resnet(backbone: IBNResNet | ResNet) -> list[Layer]:
    """The stem after its ReLU and each residual block after its last: 17 of ResNet50."""
    blocks = [
        f"{stage}.{block}"
        for stage in backbone.res_layers
        for block, _ in backbone.get_submodule(stage).named_children()
    ]
    stem = Layer("stem", "backbone.stem" if backbone.deep_stem else "backbone.relu")
    return [stem, *(Layer(block, f"backbone.{block}") for block in blocks)]


def _of_densenet(backbone: IBNDenseNet) -> list[Layer]:
    """The stem after its ReLU and each dense block after the BN and ReLU that follow it."""
    norms = ("transition1.norm", "transition2.norm", "transition3.norm", "norm5")
    blocks = [
        Layer(f"denseblock{i}", f"backbone.features.{norm}", rectified=True)
        for i, norm in enumerate(norms, start=1)
    ]
    return [Layer("stem", "backbone.features.relu0"), *blocks]


DEFAULTS: dict[type, Callable[[nn.Module], list[Layer]]] = {
    IBNResNet: _of_resnet,
    ResNet: _of_resnet,
    IBNDenseNet: _of_densenet,
}
"""The layers that are looked at by default, by kind of backbone."""


def find_layers(network: nn.Module, patterns: Sequence[str] | None = None) -> list[Layer]:
    """The layers to look at, in the network's order.

    Args:
        network: mmseg's kind of model, with a ``backbone``.
        patterns: names of modules, or shell-style patterns of them, e.g. ``backbone.layer?``; by
            default those of ``DEFAULTS``.

    Raises:
        UserError: for a pattern that no module matches, with near names; without patterns for a
            backbone that has no default.
    """
    if patterns is None:
        for kind, layers in DEFAULTS.items():
            if isinstance(network.backbone, kind):
                return layers(network.backbone)
        parts = [f"backbone.{name}" for name, _ in network.backbone.named_children()]
        raise UserError(
            f"no layers are known of {type(network.backbone).__name__}; name modules with "
            f"--layers, e.g. {','.join(parts) or 'backbone'}"
        )
    names = [name for name, _ in network.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, cutoff=0.5)
            outer = [name for name in names if name.count(".") < 2]
            raise unknown_name("layer of the network", pattern, near or outer)
    return [Layer(n, n) for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]


def spatial_means(layer: str, output: object) -> Tensor:
    """Each channel's mean over an image, (N, C) float32, on the output's device.

    Args:
        layer: what an error calls it.
        output: a module's, ``(N, C, H, W)``, or tokens, ``(N, L, C)``; of several the first.

    Raises:
        UserError: for any other output.
    """
    while isinstance(output, (list, tuple)) and output:
        output = output[0]
    if isinstance(output, Tensor) and output.ndim in (3, 4):
        axes = (2, 3) if output.ndim == 4 else (1,)
        return output.float().mean(dim=axes)
    found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise UserError(
        f"layer '{layer}': its output is of {found}, expected (N, C, H, W), or (N, L, C) of tokens"
    )


@contextmanager
def watching(
    network: nn.Module, layers: Sequence[Layer]
) -> Iterator[Callable[[Images], dict[str, np.ndarray]]]:
    """Gives a function from images to the spatial means of layers, by their names.

    Images are (N, H, W, 3), RGB on the scale of 0 to 255, uint8 or floating point, arrays or
    tensors. They go through the network's own preprocessing, whole and at their size, with no
    gradients; floating-point ones are not clipped. Of a module that is called several times for
    an image the last output counts.

    Raises:
        UserError: from the function, for images of another shape, for a layer that is not run, or
            whose output has no channels.
    """
    means: dict[str, Tensor] = {}

    def hook(layer: Layer) -> Callable[[nn.Module, tuple, object], None]:
        def look(module: nn.Module, inputs: tuple, output: object) -> None:
            seen = output.relu() if layer.rectified else output
            means[layer.name] = spatial_means(layer.name, seen)

        return look

    whole = any(not layer.module.startswith(("backbone.", "neck.")) for layer in layers)

    @torch.inference_mode()
    def means_of(images: Images) -> dict[str, np.ndarray]:
        means.clear()
        inputs = _normalised(network, images)
        if whole:
            network(inputs, mode="tensor")
        else:
            network.extract_feat(inputs)
        for layer in layers:
            if layer.name not in means:
                raise UserError(f"layer '{layer.name}': is not run in testing; leave it out")
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
    """What a network's preprocessing makes of images, (N, 3, H, W)."""
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
    """Moments of a network's layers over a set of images, in one pass.

    Args:
        network: from :func:`ibnseg.load`, or any model of mmseg, in eval mode.
        batches: images as for :func:`watching`; each batch of any size.
        layers: as the patterns of :func:`find_layers`.
        replicates, key: of the bootstrap, as for ``FeatureMoments``.
    """
    moments = FeatureMoments(replicates, key)
    with watching(network, find_layers(network, layers)) as means_of:
        for images in batches:
            moments.update(means_of(images))
    return moments
