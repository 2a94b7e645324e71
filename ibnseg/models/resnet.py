"""IBN-ResNet, -ResNeXt and -SE-ResNet: mmseg's networks with the normalisations of a variant."""

from __future__ import annotations

from collections.abc import Sequence

import torch.utils.checkpoint
from mmseg.models.backbones import ResNet, ResNeXt
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.models.utils import ResLayer
from torch import Tensor, nn

from ibnseg.models.norm import build_norm
from ibnseg.models.pretrained import Pretrainable
from ibnseg.models.variants import VARIANTS, place
from ibnseg.registry import MODELS


class _Summed:
    """A residual block that may have a normalisation, its child ``sum``, between addition and last
    ReLU, and whose last normalisation may be IN."""

    sum: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        def summed(x: Tensor) -> Tensor:
            out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            if isinstance(self, Bottleneck):
                out = self.norm3(self.conv3(self.relu(out)))
            out = out + (x if self.downsample is None else self.downsample(x))
            return out if self.sum is None else getattr(self, self.sum)(out)

        if self.with_cp and x.requires_grad:
            # IN returns a view, which the reentrant way of mmseg's blocks forbids to change
            out = torch.utils.checkpoint.checkpoint(summed, x, use_reentrant=False)
        else:
            out = summed(x)
        return self.relu(out)


class _BasicBlock(_Summed, BasicBlock):
    pass


class _Bottleneck(_Summed, Bottleneck):
    pass


@MODELS.register_module()
class IBNResNet(Pretrainable, ResNet):
    """ResNet with the normalisations of IBN-Net (Pan et al., "Two at Once", ECCV 2018).

    Args:
        depth: 18, 34, 50, 101 or 152.
        variant: a row of :data:`ibnseg.models.variants.VARIANTS`. ``None``, plain ResNet, equal to
            mmseg's; ``'a'``, the first normalisation of every block in stages 1 to 3 (conv2_x to
            conv4_x) is an IBN layer; ``'b'``, the stem is instance normalised and IN follows the
            addition in the last block of stages 1 and 2; ``'c'``, as a, with all channels through
            IN and through BN; ``'d'``, as b, with IBN layers; ``'a&d'``, both; ``'ax2'``, as a, for
            the first two normalisations; ``'in'``, IN alone in all blocks of stages 1 to 3. With a
            deep stem, all three of its normalisations are as the stem's.
        stages: which stages have them, as ``(True, True, True, False)``; default as above.
        ratio: share of channels for IN in the IBN layers, one number in [0, 1] or one for each
            stage, of which the first is the stem's, too; default one half.
        kwargs: as mmseg's ``ResNet``: dilations, strides, out_indices, frozen_stages, deep_stem,
            zero_init_residual and the others. BN is synchronised across processes where
            ``norm_cfg`` says ``SyncBN``, in IBN layers too.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``.

    The names in the state dict are those of the authors' repository (XingangPan/IBN-Net), so their
    ImageNet checkpoints load with ``init_cfg=dict(type='Pretrained', checkpoint=URL_OR_PATH)``.

    Raises:
        ValueError: for an unknown depth, variant, stages or ratio.
        UserError: from ``init_weights``, if a pretrained checkpoint does not fit the backbone
            exactly.
    """

    DEPTHS: tuple[int, ...] = (18, 34, 50, 101, 152)
    VARIANTS: tuple[str | None, ...] = tuple(VARIANTS)

    def __init__(
        self,
        depth: int,
        variant: str | None = None,
        stages: Sequence[bool] | None = None,
        ratio: float | Sequence[float] | None = None,
        **kwargs,
    ) -> None:
        name = type(self).__name__
        if depth not in self.DEPTHS:
            raise ValueError(f"{name}: unknown depth {depth!r}, expected one of {self.DEPTHS}")
        count = kwargs.get("num_stages", 4)
        self.variant = variant
        self._placed = place(name, variant, stages, ratio, self.VARIANTS, count=count)
        super().__init__(depth=depth, **kwargs)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features, one for each of ``out_indices``."""
        first = self.base_channels * self.block.expansion
        return tuple(first * 2**i for i in sorted(self.out_indices))

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        norms, ratio = self._placed[0]
        if norms.stem == "BN":
            return
        stem = self.stem if self.deep_stem else self
        for key, layer in list(stem.named_children()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                norm = build_norm(norms.stem, layer.num_features, self.norm_cfg, ratio)
                setattr(stem, key, norm)

    def make_res_layer(self, **kwargs) -> ResLayer:
        norms, ratio = self._placed[len(self.res_layers)]
        summed = norms.sum or norms.others == "IN"
        if (kwargs["plugins"] or kwargs["dcn"]) and (summed or norms.first == "IN|BN"):
            raise ValueError(
                f"{type(self).__name__}: variant {self.variant!r} takes no plugins and no dcn in "
                "its stages"
            )

        def norm(old: nn.Module, kind: str) -> nn.Module:
            if kind == "BN":
                return old
            return build_norm(kind, old.num_features, self.norm_cfg, ratio)

        if summed:
            kwargs["block"] = {BasicBlock: _BasicBlock, Bottleneck: _Bottleneck}[kwargs["block"]]
        layer = super().make_res_layer(**kwargs)
        for block in layer:
            kinds = {block.norm1_name: norms.first, block.norm2_name: norms.second}
            if isinstance(block, Bottleneck):
                kinds[block.norm3_name] = norms.others
            for key, kind in kinds.items():
                setattr(block, key, norm(getattr(block, key), kind))
            if block.downsample is not None:
                block.downsample[-1] = norm(block.downsample[-1], norms.others)
            if norms.first == "IN|BN":
                block.conv2 = _twice_as_wide(block.conv2)
        if norms.sum:
            block.sum = norms.sum
            channels = kwargs["planes"] * block.expansion
            block.add_module(norms.sum, build_norm(norms.sum, channels, self.norm_cfg, ratio))
        return layer

    def train(self, mode: bool = True) -> IBNResNet:
        super().train(mode)
        return self


@MODELS.register_module()
class IBNResNeXt(IBNResNet, ResNeXt):
    """ResNeXt, 32x4d by default, as :class:`IBNResNet`; depth 50, 101 or 152, variant ``None`` or
    ``'a'``."""

    DEPTHS = (50, 101, 152)
    VARIANTS = (None, "a")

    def __init__(self, depth: int, *args, groups: int = 32, base_width: int = 4, **kwargs) -> None:
        super().__init__(depth, *args, groups=groups, base_width=base_width, **kwargs)


class SE(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018) without biases, as in the published SE-ResNets.

    Args:
        in_channels: number of channels C.
        reduction: C over the number of hidden channels.

    Shape:
        ``(N, C, H, W)`` to the same.
    """

    _abbr_ = "se"

    def __init__(self, in_channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = in_channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, in_channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean(dim=(2, 3)))[..., None, None]


@MODELS.register_module()
class IBNSEResNet(IBNResNet):
    """ResNet with squeeze and excitation at the end of each block's branch, as :class:`IBNResNet`;
    depth 50, 101 or 152, variant ``None`` or ``'a'``."""

    DEPTHS = (50, 101, 152)
    VARIANTS = (None, "a")

    def __init__(self, *args, plugins: Sequence[dict] = (), **kwargs) -> None:
        se = dict(cfg=dict(type=SE), position="after_conv3")
        super().__init__(*args, plugins=[se, *(plugins or ())], **kwargs)


def _twice_as_wide(conv: nn.Conv2d) -> nn.Conv2d:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return type(conv)(2 * conv.in_channels, conv.out_channels, *shape, bias=False)
