"""IBN-DenseNet: torchvision's DenseNet with IBN layers, dilated for segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models import DenseNet

from ibnseg.models.frozen import PartlyFrozen
from ibnseg.models.norm import build_norm
from ibnseg.models.pretrained import Pretrainable
from ibnseg.models.variants import place
from ibnseg.registry import MODELS

LAYERS = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}
"""The numbers of dense layers in the four blocks, by depth (Huang et al., CVPR 2017, table 1)."""
EVERY = 3
"""One dense layer in this many has an IBN layer, as in the published networks."""


@MODELS.register_module()
class IBNDenseNet(Pretrainable, PartlyFrozen, BaseModule):
    """DenseNet-BC with the normalisations of IBN-Net-a (Pan et al., ECCV 2018).

    Args:
        depth: 121, 161, 169 or 201.
        variant: ``None``, torchvision's DenseNet; ``'a'``, the first normalisation of the first,
            fourth, seventh ... dense layer of blocks 1 to 3 is an IBN layer, BN first.
        stages: which blocks have IBN layers, default ``(True, True, True, False)``.
        ratio: share of channels for IN, one number in [0, 1] or one for each block; default 0.4.
        strides: the stride of each block, 1 or 2, like those of a ResNet's stages; if it is 1, the
            transition in front of the block does not pool. The first block has 1, after a stem of
            stride 4.
        dilations: the dilation of the 3x3 convolutions of each block.
        out_indices: blocks whose features are returned.
        growth_rate: channels that a dense layer adds; default 32, or 48 for depth 161.
        stem_channels: channels of the first convolution; default twice the growth rate.
        norm_cfg: mmcv's config of BN, which may be synchronised.
        norm_eval: whether BN keeps its running statistics in training.
        frozen_stages: number of blocks, with stem and transitions between them, that are not
            trained; 0 for the stem alone, -1 for none.
        with_cp: whether to compute the first half of dense layers again in the backward pass, to
            save memory; its BN counts each batch twice in its running statistics.
        init_cfg: mmengine's config of the initial weights.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``: the
        output of a block as the next layer sees it, after BN and ReLU. DenseNet121: 256, 512, 1024
        and 1024 channels, of strides 4, 8, 16 and 32.

    DenseNet121 at stride 8, ``strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)``: 132.8 GFLOPs for
    512x1024, two for each multiplication and addition of a convolution. A position of the last
    feature sees 2047 pixels square, 2071 at stride 32.

    The names in the state dict are those of the authors' repository (XingangPan/IBN-Net).

    Raises:
        ValueError: for an unknown depth, variant, stages, ratio, strides, dilations or
            out_indices.
        UserError: from ``init_weights``, if a pretrained checkpoint does not fit exactly.
    """

    DEPTHS = tuple(LAYERS)
    VARIANTS = (None, "a")

    def __init__(
        self,
        depth: int,
        variant: str | None = None,
        stages: Sequence[bool] | None = None,
        ratio: float | Sequence[float] | None = None,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        growth_rate: int | None = None,
        stem_channels: int | None = None,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
        norm_eval: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        name = type(self).__name__
        if depth not in self.DEPTHS:
            raise ValueError(f"{name}: unknown depth {depth!r}, expected one of {self.DEPTHS}")
        if len(strides) != 4 or strides[0] != 1 or not {*strides} <= {1, 2}:
            raise ValueError(
                f"{name}: strides={strides!r}, expected 4 of 1 and 2, the first of them 1"
            )
        if len(dilations) != 4 or not all(isinstance(d, int) and d >= 1 for d in dilations):
            raise ValueError(f"{name}: dilations={dilations!r}, expected 4 integers of at least 1")
        if not {*out_indices} <= {*range(4)}:
            raise ValueError(f"{name}: out_indices={out_indices!r}, expected some of 0 to 3")
        placed = place(name, variant, stages, ratio, self.VARIANTS, default_ratio=0.4)
        super().__init__(init_cfg)
        self.variant = variant
        self.out_indices = tuple(out_indices)
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        growth_rate = growth_rate or (48 if depth == 161 else 32)
        width = stem_channels or 2 * growth_rate
        self.features = DenseNet(
            growth_rate, LAYERS[depth], width, num_classes=1, memory_efficient=with_cp
        ).features
        for parent in list(self.features.modules()):
            for key, module in list(parent.named_children()):
                if isinstance(module, nn.BatchNorm2d):
                    setattr(parent, key, build_norm("BN", module.num_features, norm_cfg))
        for i, (norms, share) in enumerate(placed):
            layers = list(self._block(i).values())
            for layer in layers[::EVERY] if norms.first == "IBN" else ():
                channels = layer.norm1.num_features
                layer.norm1 = build_norm("IBN", channels, norm_cfg, share, in_first=False)
            for layer in layers:
                layer.conv2.dilation = layer.conv2.padding = (dilations[i], dilations[i])
            if i and strides[i] == 1:
                self._transition(i - 1).pool = nn.Identity()
        self._freeze()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features, one for each of ``out_indices``."""
        return tuple(self._norm(i).num_features for i in sorted(self.out_indices))

    def _block(self, i: int) -> nn.ModuleDict:
        return self.features.get_submodule(f"denseblock{i + 1}")

    def _transition(self, i: int) -> nn.Sequential:
        return self.features.get_submodule(f"transition{i + 1}")

    def _norm(self, i: int) -> nn.Module:
        """The layer that normalises a block's output: in its transition, or the last one."""
        return self.features.norm5 if i == 3 else self._transition(i).norm

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        stem = self.features
        x = stem.pool0(stem.relu0(stem.norm0(stem.conv0(x))))
        outs = []
        for i in range(4):
            if i:
                transition = self._transition(i - 1)
                x = transition.pool(transition.conv(x))
            x = self._norm(i)(self._block(i)(x)).relu()
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _frozen_modules(self) -> list[str]:
        frozen = ["conv0", "norm0"]
        frozen += [f"denseblock{i}" for i in range(1, self.frozen_stages + 1)]
        frozen += [f"transition{i}" for i in range(1, self.frozen_stages)]
        frozen += ["norm5"] * (self.frozen_stages == 4)
        return [f"features.{name}" for name in frozen]
