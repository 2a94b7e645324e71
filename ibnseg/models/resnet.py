"""IBN-ResNet: mmseg's ResNet with the normalisations of IBN-Net-a or -b."""

from __future__ import annotations

import torch.utils.checkpoint
from mmcv.cnn import build_norm_layer
from mmengine.model import PretrainedInit
from mmseg.models.backbones import ResNet
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.models.utils import ResLayer
from torch import Tensor, nn

from ibnseg.models.norm import IBN
from ibnseg.models.weights import load_backbone
from ibnseg.registry import MODELS

VARIANTS = (None, "a", "b")


def _ibn(norm_cfg: dict, channels: int) -> IBN:
    """An IBN layer whose BN half is what ``norm_cfg`` says (BN or SyncBN, momentum,
    requires_grad)."""
    layer = IBN(channels, eps=norm_cfg.get("eps", 1e-5))
    layer.BN = build_norm_layer(norm_cfg, layer.BN.num_features)[1]
    layer.IN.requires_grad_(norm_cfg.get("requires_grad", True))
    return layer


def _instance_norm(norm_cfg: dict, channels: int) -> nn.InstanceNorm2d:
    layer = nn.InstanceNorm2d(channels, eps=norm_cfg.get("eps", 1e-5), affine=True)
    return layer.requires_grad_(norm_cfg.get("requires_grad", True))


class _NormalisedSum:
    """A residual block with instance normalisation ``IN`` between its addition and its last
    ReLU."""

    def __init__(self, *args, **kwargs) -> None:
        if kwargs.get("plugins"):
            raise ValueError("IBNResNet: variant 'b' does not take plugins in stages 1 and 2")
        super().__init__(*args, **kwargs)
        self.IN = _instance_norm(kwargs["norm_cfg"], kwargs["planes"] * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        def normalised_sum(x: Tensor) -> Tensor:
            out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            if isinstance(self, Bottleneck):
                out = self.norm3(self.conv3(self.relu(out)))
            return self.IN(out + (x if self.downsample is None else self.downsample(x)))

        if self.with_cp and x.requires_grad:
            out = torch.utils.checkpoint.checkpoint(normalised_sum, x, use_reentrant=False)
        else:
            out = normalised_sum(x)
        return self.relu(out)


class _BasicBlock(_NormalisedSum, BasicBlock):
    pass


class _Bottleneck(_NormalisedSum, Bottleneck):
    pass


@MODELS.register_module()
class IBNResNet(ResNet):
    """ResNet with the normalisations of IBN-Net (Pan et al., "Two at Once", ECCV 2018).

    Args:
        variant: ``None``, plain ResNet, equal to mmseg's; ``'a'``, the first normalisation of every
            block in stages 1 to 3 (conv2_x to conv4_x) is an IBN layer; ``'b'``, the stem is
            instance normalised and IN follows the addition in the last block of stages 1 and 2
            (with a deep stem, all three of its normalisations are IN).
        kwargs: as mmseg's ``ResNet``: depth 18, 34, 50, 101 or 152, dilations, strides,
            out_indices, frozen_stages, deep_stem, zero_init_residual and the others. BN is
            synchronised across processes where ``norm_cfg`` says ``SyncBN``, in IBN layers too.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``.

    The names in the state dict are those of the authors' repository (XingangPan/IBN-Net), so their
    ImageNet checkpoints load with ``init_cfg=dict(type='Pretrained', checkpoint=URL_OR_PATH)``.

    Raises:
        ValueError: for an unknown variant.
        KeyError: for an unknown depth (from mmseg).
        UserError: from ``init_weights``, if a pretrained checkpoint does not fit the backbone
            exactly.
    """

    def __init__(self, depth: int, variant: str | None = None, **kwargs) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"IBNResNet: unknown variant {variant!r}, expected one of {VARIANTS}")
        self.variant = variant
        super().__init__(depth, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self.variant != "b":
            return
        if self.deep_stem:
            for i, layer in enumerate(self.stem):
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    self.stem[i] = _instance_norm(self.norm_cfg, layer.num_features)
        else:
            setattr(self, self.norm1_name, _instance_norm(self.norm_cfg, stem_channels))

    def make_res_layer(self, **kwargs) -> ResLayer:
        stage = len(self.res_layers) + 1
        if self.variant == "b" and stage <= 2:
            return self._make_normalised_stage(**kwargs)
        layer = super().make_res_layer(**kwargs)
        if self.variant == "a" and stage <= 3:
            for block in layer:
                setattr(block, block.norm1_name, _ibn(self.norm_cfg, kwargs["planes"]))
        return layer

    def _make_normalised_stage(self, num_blocks: int, **kwargs) -> ResLayer:
        """A stage whose last block normalises its sum; every published stage has at least two
        blocks."""
        layer = super().make_res_layer(num_blocks=num_blocks - 1, **kwargs)
        only_first = ("stride", "inplanes", "block", "avg_down", "multi_grid", "contract_dilation")
        block = {BasicBlock: _BasicBlock, Bottleneck: _Bottleneck}[kwargs["block"]]
        shared = {key: value for key, value in kwargs.items() if key not in only_first}
        if kwargs["multi_grid"] is not None:
            shared["dilation"] = kwargs["multi_grid"][num_blocks - 1]
        layer.append(block(inplanes=kwargs["planes"] * block.expansion, **shared))
        return layer

    def init_weights(self) -> None:
        given = self.init_cfg
        several = given if isinstance(given, list) else [given] if given else []
        pretrained = [cfg for cfg in several if cfg["type"] in ("Pretrained", PretrainedInit)]
        self.init_cfg = [cfg for cfg in several if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = given
        for cfg in pretrained:
            load_backbone(self, cfg["checkpoint"], cfg.get("prefix") or "")

    def train(self, mode: bool = True) -> IBNResNet:
        super().train(mode)
        return self
