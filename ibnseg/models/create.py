"""Networks by name as plain modules, for anybody's own training or testing."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.classifier import Classifier, load_classifier
from ibnseg.models.fitting import load_exactly, state_dict_of
from ibnseg.models.names import LAYOUTS, NAMES, VITS, build_backbone, build_vit
from ibnseg.models.pretrained import load_backbone_weights
from ibnseg.models.timm_hub import SCHEME as TIMM
from ibnseg.models.zoo import PUBLISHED, SCHEME
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import config_folder


class SegmentationNetwork(nn.Module):
    """A backbone and a head, whose logits are upsampled to the size of the image.

    Its state dict has the names of a run's (``backbone.``, ``decode_head.``).

    Args:
        backbone: gives a tuple of features.
        decode_head: a head of mmseg's, which gives logits ``(N, K, h, w)`` from these.

    Shape:
        normalised images ``(N, 3, H, W)`` to logits ``(N, K, H, W)``, float32.
    """

    def __init__(self, backbone: nn.Module, decode_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = decode_head
        self.num_classes = decode_head.num_classes

    def forward(self, x: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone(x)).float()
        corners = self.decode_head.align_corners
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=corners)


def list_models(pretrained: bool = False) -> list[str]:
    """Lists the names of the backbones that :func:`create` takes.

    Args:
        pretrained: whether to list only those with published weights.
    """
    published = (*PUBLISHED, *VITS)
    return [name for name in (*NAMES, *VITS) if name in published or not pretrained]


def list_heads() -> dict[str, list[int]]:
    """Lists the heads that :func:`create` takes, each with its output strides: those for which
    ``configs/_base_/models`` has a config."""
    heads: dict[str, list[int]] = {}
    for path in sorted((config_folder() / "_base_" / "models").glob("*_r50-d*.py")):
        name, stride = re.fullmatch(r"(.+)_r50-d(\d+)", path.stem).groups()
        heads[name] = sorted([*heads.get(name, []), int(stride)])
    return heads


def create(
    name: str,
    backbone: str | None = None,
    *,
    num_classes: int | None = None,
    pretrained: bool | str | Path = False,
    features_only: bool = False,
    output_stride: int | None = None,
) -> nn.Module:
    """Builds a network by name, as a plain module in training mode.

    ``create("fcn", "resnet50_ibn_a")`` is a segmentation network, ``create("resnet50_ibn_a")`` a
    classifier, and either with ``features_only=True`` the backbone alone.
    ``create("vit_base_patch14_dinov2", features_only=True)`` is a ViT with patches of 16 pixels
    (:func:`~ibnseg.models.names.build_vit`), for images whose sides are multiples of 16.

    Args:
        name: a head (``fcn``, ``deeplabv3``, ``deeplabv3plus``), with the settings of
            ``configs/_base_/models``, or a backbone (:func:`list_models`).
        backbone: the backbone below a head.
        num_classes: number of classes K. By default a head has 19, and a classifier as many as the
            weights, or 1000 without weights. If ImageNet weights have another number of classes,
            their classifier is left out and starts anew.
        pretrained: ``True`` for the published weights (ImageNet's; of a ViT, timm's), which are
            read from ``$TORCH_HOME/hub/checkpoints`` or downloaded; or a path, an address or a name
            as in a config. Weights of a backbone fill the backbone; those of a whole network, such
            as a run's checkpoint, fill all of it.
        features_only: whether to build the backbone alone.
        output_stride: stride of the last feature: 8, 16 or 32; by default 8 below a head, 32
            otherwise. A head has the strides of its configs (:func:`list_heads`).

    Returns:
        A module for normalised images ``(N, 3, H, W)``. A segmentation network gives logits
        ``(N, K, H, W)`` (:class:`SegmentationNetwork`), a classifier ``(N, K)``, a backbone a tuple
        of four features of the strides ``feature_strides`` with ``out_channels`` channels. What it
        expects stands on it: ``channel_order`` (``"RGB"``), ``input_range`` (the values of the
        image before normalisation, ``(0, 255)``), ``mean`` and ``std`` (of each channel, on that
        scale) and, unless it is a backbone, ``num_classes``.

    Raises:
        UserError: for an unknown name, options that do not go together, weights that are not
            published or do not fit, or a head if mmseg cannot be imported.
    """
    heads = list_heads()
    if backbone is None and name in heads:
        raise UserError(f"create: {name} needs a backbone, e.g. create('{name}', 'resnet50_ibn_a')")
    if backbone is not None and name not in heads:
        raise unknown_name("head", name, heads)
    if backbone is None and name not in (*NAMES, *VITS):
        raise unknown_name("network", name, [*NAMES, *VITS, *heads])
    head, network = (name, backbone) if backbone is not None else (None, name)
    if network in VITS and (head is not None or not features_only or output_stride is not None):
        raise UserError(
            f"create: {network} is a backbone of stride 16 alone; give features_only=True and no "
            "head or output_stride, or put a head on it in a config"
        )
    if network not in (*NAMES, *VITS):
        raise unknown_name("network", network, NAMES)
    _check_options(head, heads, num_classes, features_only, output_stride)
    weights, source = _read(pretrained, network)
    if features_only:
        module = _backbone(network, weights, source, output_stride or 32)
    elif head is None:
        module = _classifier(network, weights, source, num_classes)
    else:
        stride = output_stride or 8
        module = _segmentation(head, network, weights, source, stride, num_classes or 19)
    preprocessing = _config("fcn", 8).model.data_preprocessor
    module.mean, module.std = tuple(preprocessing.mean), tuple(preprocessing.std)
    module.channel_order = "RGB" if preprocessing.bgr_to_rgb else "BGR"
    module.input_range = (0, 255)
    return module.train()


def _check_options(
    head: str | None,
    heads: dict[str, list[int]],
    num_classes: int | None,
    features_only: bool,
    output_stride: int | None,
) -> None:
    if num_classes is not None and features_only:
        raise UserError("create: features have no classes; leave out num_classes or features_only")
    if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 1):
        raise UserError(f"create: num_classes={num_classes!r}, expected an integer of at least 1")
    if output_stride is None:
        return
    if head is None and not features_only:
        raise UserError("create: a classifier has no output_stride; add a head or features_only")
    known = list(LAYOUTS) if features_only else heads[head]
    if output_stride not in known:
        raise UserError(
            f"create: output_stride={output_stride!r}, expected "
            f"{' or '.join(map(str, known))}" + ("" if features_only else f" with {head}")
        )


def _read(pretrained: bool | str | Path, network: str) -> tuple[dict[str, Tensor] | None, str]:
    if pretrained is False:
        return None, ""
    if pretrained is True and network not in (*PUBLISHED, *VITS):
        raise unknown_name("published weights", network, PUBLISHED)
    scheme = TIMM if network in VITS else SCHEME
    source = f"{scheme}{network}" if pretrained is True else str(pretrained)
    return state_dict_of(read_checkpoint(source), source), source


def _is_whole(weights: dict[str, Tensor]) -> bool:
    return any(key.startswith("backbone.") for key in weights)


def _backbone(
    network: str, weights: dict[str, Tensor] | None, source: str, stride: int
) -> nn.Module:
    is_vit = network in VITS
    backbone = build_vit(network) if is_vit else build_backbone(network, **LAYOUTS[stride])
    if weights is None:
        initialise(backbone)
    else:
        if _is_whole(weights):
            weights = state_dict_of(weights, source, prefix="backbone")
        load_backbone_weights(backbone, backbone.translated(weights, source), source)
    if not is_vit:
        backbone.feature_strides = tuple(min(s, stride) for s in (4, 8, 16, 32))
    return backbone


def _classifier(
    network: str, weights: dict[str, Tensor] | None, source: str, num_classes: int | None
) -> Classifier:
    if weights is not None and not _is_whole(weights):
        module = load_classifier(network, weights, source)
        if num_classes not in (None, module.num_classes):
            module = Classifier(module.backbone, num_classes)
        return module
    module = Classifier(_backbone(network, None, "", 32), num_classes or 1000)
    if weights is not None:
        load_exactly(module, weights, source)
    return module


def _segmentation(
    head: str,
    network: str,
    weights: dict[str, Tensor] | None,
    source: str,
    stride: int,
    num_classes: int,
) -> SegmentationNetwork:
    whole = weights is not None and _is_whole(weights)
    backbone = _backbone(network, None if whole else weights, source, stride)
    module = SegmentationNetwork(backbone, _head(head, stride, backbone.out_channels, num_classes))
    if whole:
        load_exactly(module, weights, source, spare=("auxiliary_head.", "data_preprocessor."))
    return module


def _head(name: str, stride: int, channels: tuple[int, ...], num_classes: int) -> nn.Module:
    try:
        import mmseg.models  # noqa: F401
        from mmseg.registry import MODELS
    except ImportError as error:
        raise UserError(
            f"create: the head {name} needs mmseg, which cannot be imported ({error}); with "
            "features_only=True there is the backbone alone"
        ) from error
    cfg = _config(name, stride).model.decode_head
    cfg.update(in_channels=channels[-1], num_classes=num_classes, out_channels=num_classes)
    for key in {"c1_in_channels", "low_level_in"} & cfg.keys():
        cfg[key] = channels[0]
    if channels[-1] == 512:  # a quarter of ResNet50's, as its features are
        cfg.channels //= 4
    head = MODELS.build(cfg)
    initialise(head)
    return head


def _config(head: str, stride: int) -> Config:
    return Config.fromfile(config_folder() / "_base_" / "models" / f"{head}_r50-d{stride}.py")


def initialise(module: nn.Module) -> None:
    """Gives a module random weights without mmengine's report on each parameter; does nothing on
    the meta device, where that fails."""
    if next(module.parameters()).is_meta:
        return
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        module.init_weights()
    finally:
        logger.setLevel(level)
