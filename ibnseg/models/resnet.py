"""IBN-ResNet, -ResNeXt and -SE-ResNet: torchvision's blocks with a variant's normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import torch.utils.checkpoint
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models import resnet as plain

from ibnseg.models.frozen import PartlyFrozen
from ibnseg.models.norm import build_norm
from ibnseg.models.pretrained import Pretrainable
from ibnseg.models.variants import VARIANTS, Placement, place
from ibnseg.registry import MODELS


class SE(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018) without biases, as in the published SE-ResNets.

    Args:
        in_channels: number of channels C.
        reduction: C divided by the number of hidden channels.

    Shape:
        ``(N, C, H, W)`` to the same.
    """

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


class _Residual:
    """The part that both kinds of blocks share: a normalisation, the child that ``sum`` names, may
    stand between the addition and the last ReLU, and activations may be computed again in the
    backward pass."""

    sum: str | None = None
    with_cp = False

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            out = torch.utils.checkpoint.checkpoint(self._added, x, use_reentrant=False)
        else:
            out = self._added(x)
        return self.relu(out)

    def _added(self, x: Tensor) -> Tensor:
        out = self._branch(x)
        out += x if self.downsample is None else self.downsample(x)
        return out if self.sum is None else getattr(self, self.sum)(out)


class BasicBlock(_Residual, plain.BasicBlock):
    """Two 3x3 convolutions (ResNet18 and 34)."""

    last = "bn2"

    def set_geometry(self, stride: int, dilation: int, caffe: bool) -> None:
        self.conv1.stride = (stride, stride)
        self.conv1.dilation = self.conv1.padding = (dilation, dilation)

    def _branch(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_Residual, plain.Bottleneck):
    """A 3x3 convolution between two of 1x1."""

    last = "bn3"

    def set_geometry(self, stride: int, dilation: int, caffe: bool) -> None:
        (self.conv1 if caffe else self.conv2).stride = (stride, stride)
        self.conv2.dilation = self.conv2.padding = (dilation, dilation)

    def _branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))


class SEBottleneck(Bottleneck):
    """A bottleneck with squeeze and excitation behind its last normalisation."""

    def __init__(self, inputs: int, width: int, **kwargs) -> None:
        super().__init__(inputs, width, **kwargs)
        self.se = SE(width * self.expansion)

    def _branch(self, x: Tensor) -> Tensor:
        return self.se(super()._branch(x))


@MODELS.register_module()
class IBNResNet(Pretrainable, PartlyFrozen, BaseModule):
    """ResNet with the normalisations of IBN-Net (Pan et al., "Two at Once", ECCV 2018).

    Without a variant it computes what mmseg's ResNet does, and has its arguments, but for
    ``plugins``, ``dcn`` and ``conv_cfg``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        variant: a row of :data:`ibnseg.models.variants.VARIANTS`. ``None`` is plain ResNet. In
            ``'a'`` the first normalisation of every block in stages 1 to 3 (conv2_x to conv4_x) is
            an IBN layer. In ``'b'`` the stem is instance normalised, and IN follows the addition
            in the last block of stages 1 and 2. ``'c'`` is like a, with all channels through IN
            and through BN; ``'d'`` is like b, with IBN layers; ``'a&d'`` is both; ``'ax2'`` is
            like a, for the first two normalisations; ``'in'`` has IN alone in all blocks of stages
            1 to 3. In a deep stem all three normalisations are of the stem's kind.
        stages: which stages have the variant's normalisations, e.g. ``(True, True, True, False)``;
            by default those named above.
        ratio: share of channels for IN in the IBN layers, one number in [0, 1] or one for each
            stage; the stem has that of the first stage; default one half.
        in_channels: channels of the image.
        stem_channels: channels of the stem.
        base_channels: channels of the first stage before its expansion; doubled in each further
            stage.
        num_stages: number of stages, 1 to 4.
        strides: the stride of the first block of each stage.
        dilations: the dilation of the 3x3 convolutions of each stage.
        out_indices: stages whose features are returned.
        style: ``'pytorch'`` strides in a bottleneck's 3x3 convolution, ``'caffe'`` in its first
            1x1.
        deep_stem: whether three 3x3 convolutions replace the stem's 7x7.
        avg_down: whether shortcuts pool on average instead of striding.
        frozen_stages: number of stages, with the stem, that are not trained; 0 freezes the stem
            alone, -1 nothing.
        norm_cfg: mmcv's config of BN, e.g. ``dict(type='SyncBN')``; it holds in IBN layers too.
        norm_eval: whether BN keeps its running statistics in training.
        multi_grid: the dilation of each block of the last stage.
        contract_dilation: whether the first block of a dilated stage has half of its dilation.
        with_cp: whether to compute blocks again in the backward pass, to save memory.
        zero_init_residual: whether the last normalisation of each block starts at zero if there
            is no ``init_cfg``.
        pretrained: a checkpoint, short for ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        init_cfg: mmengine's config of the initial weights. ``dict(type='Pretrained',
            checkpoint=URL_OR_PATH)`` loads the published ImageNet checkpoints, whose names
            (XingangPan/IBN-Net) the state dict has.

    Shape:
        ``(N, in_channels, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of
        ``out_indices``.

    Raises:
        ValueError: for an unknown depth, variant, stages, ratio or geometry.
        UserError: from ``init_weights``, if a pretrained checkpoint does not fit the backbone
            exactly.
    """

    DEPTHS: tuple[int, ...] = (18, 34, 50, 101, 152)
    VARIANTS: tuple[str | None, ...] = tuple(VARIANTS)
    BLOCKS = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }
    """The kind of block, and the number of blocks in each stage (He et al., CVPR 2016, table 1)."""

    def __init__(
        self,
        depth: int,
        variant: str | None = None,
        stages: Sequence[bool] | None = None,
        ratio: float | Sequence[float] | None = None,
        *,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        style: str = "pytorch",
        deep_stem: bool = False,
        avg_down: bool = False,
        frozen_stages: int = -1,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
        norm_eval: bool = False,
        multi_grid: Sequence[int] | None = None,
        contract_dilation: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        pretrained: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        name = type(self).__name__
        if depth not in self.DEPTHS:
            raise ValueError(f"{name}: unknown depth {depth!r}, expected one of {self.DEPTHS}")
        _check_geometry(name, num_stages, strides, dilations, out_indices, style)
        placed = place(name, variant, stages, ratio, self.VARIANTS, count=num_stages)
        if pretrained is not None:
            if init_cfg is not None:
                raise ValueError(f"{name}: pretrained and init_cfg exclude each other")
            init_cfg = dict(type="Pretrained", checkpoint=pretrained)
        self._zero_init = zero_init_residual and init_cfg is None
        super().__init__([dict(type="Kaiming", layer="Conv2d")] if init_cfg is None else init_cfg)
        self.variant = variant
        self.deep_stem = deep_stem
        self.base_channels = base_channels
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_cfg = norm_cfg
        self.norm_eval = norm_eval
        self.block, counts = self.BLOCKS[depth]
        self._make_stem(in_channels, stem_channels, placed[0])
        self.res_layers = [f"layer{i + 1}" for i in range(num_stages)]
        inputs = stem_channels
        for i, placement in enumerate(placed):
            grid = [dilations[i]] * counts[i]
            if contract_dilation and dilations[i] > 1:
                grid[0] = dilations[i] // 2
            if multi_grid is not None and i == num_stages - 1:
                grid = multi_grid[: counts[i]]
            width = base_channels * 2**i
            stage = self._make_stage(inputs, width, strides[i], grid, placement, style, avg_down)
            self.add_module(self.res_layers[i], stage)
            inputs = width * self.block.expansion
            for block in stage:
                block.with_cp = with_cp
        self._freeze()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features, one for each of ``out_indices``."""
        first = self.base_channels * self.block.expansion
        return tuple(first * 2**i for i in sorted(self.out_indices))

    def _make_stem(self, inputs: int, width: int, placement: Placement) -> None:
        def norm(channels: int) -> nn.Module:
            return build_norm(placement.norms.stem, channels, self.norm_cfg, placement.ratio)

        if self.deep_stem:
            half, layers = width // 2, []
            for a, b, stride in ((inputs, half, 2), (half, half, 1), (half, width, 1)):
                conv = nn.Conv2d(a, b, 3, stride, padding=1, bias=False)
                layers += [conv, norm(b), nn.ReLU(inplace=True)]
            self.stem = nn.Sequential(*layers)
        else:
            self.conv1 = nn.Conv2d(inputs, width, 7, 2, padding=3, bias=False)
            self.bn1 = norm(width)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def _make_block(self, inputs: int, width: int, downsample: nn.Module | None) -> nn.Module:
        return self.block(inputs, width, downsample=downsample)

    def _make_stage(
        self,
        inputs: int,
        width: int,
        stride: int,
        grid: Sequence[int],
        placement: Placement,
        style: str,
        avg_down: bool,
    ) -> nn.Sequential:
        norms, ratio = placement
        outputs = width * self.block.expansion

        def norm(kind: str, channels: int) -> nn.Module:
            return build_norm(kind, channels, self.norm_cfg, ratio)

        downsample = None
        if stride != 1 or inputs != outputs:
            pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)]
            conv = nn.Conv2d(inputs, outputs, 1, 1 if avg_down else stride, bias=False)
            downsample = nn.Sequential(*pool * avg_down, conv, norm(norms.others, outputs))
        blocks = []
        for i, dilation in enumerate(grid):
            block = self._make_block(outputs if i else inputs, width, None if i else downsample)
            block.set_geometry(1 if i else stride, dilation, style == "caffe")
            for name, kind in (("bn1", norms.first), ("bn2", norms.second), ("bn3", norms.others)):
                if hasattr(block, name):
                    setattr(block, name, norm(kind, getattr(block, name).num_features))
            blocks.append(block)
        if norms.first == "IN|BN":
            for block in blocks:
                block.conv2 = _twice_as_wide(block.conv2)
        if norms.sum:
            block.sum = norms.sum
            block.add_module(norms.sum, norm(norms.sum, outputs))
        return nn.Sequential(*blocks)

    def init_weights(self) -> None:
        super().init_weights()
        for stage in self.res_layers if self._zero_init else ():
            for block in self.get_submodule(stage):
                for parameter in block.get_submodule(block.last).parameters():
                    nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x) if self.deep_stem else self.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for i, stage in enumerate(self.res_layers):
            x = self.get_submodule(stage)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _frozen_modules(self) -> list[str]:
        stem = ["stem"] if self.deep_stem else ["conv1", "bn1"]
        return stem + self.res_layers[: self.frozen_stages]


@MODELS.register_module()
class IBNResNeXt(IBNResNet):
    """ResNeXt, 32x4d by default, like :class:`IBNResNet`; depth 50, 101 or 152, variant ``None`` or
    ``'a'``; its blocks do not start at zero by default, as mmseg's do not."""

    DEPTHS = (50, 101, 152)
    VARIANTS = (None, "a")

    def __init__(
        self,
        depth: int,
        *args,
        groups: int = 32,
        base_width: int = 4,
        zero_init_residual: bool = False,
        **kwargs,
    ) -> None:
        self.groups, self.base_width = groups, base_width
        super().__init__(depth, *args, zero_init_residual=zero_init_residual, **kwargs)

    def _make_block(self, inputs: int, width: int, downsample: nn.Module | None) -> nn.Module:
        # draws random numbers as mmseg's ResNeXt does, so that a seed gives the same weights
        super()._make_block(inputs, width, None)
        # torchvision states the width of a group for 64 base channels
        of_64 = self.base_width * 64 / self.base_channels
        groups = dict(groups=self.groups, base_width=of_64)
        return self.block(inputs, width, downsample=downsample, **groups)


@MODELS.register_module()
class IBNSEResNet(IBNResNet):
    """ResNet with squeeze and excitation at the end of each block's branch, like
    :class:`IBNResNet`; depth 50, 101 or 152, variant ``None`` or ``'a'``."""

    DEPTHS = (50, 101, 152)
    VARIANTS = (None, "a")

    BLOCKS = {depth: (SEBottleneck, counts) for depth, (_, counts) in IBNResNet.BLOCKS.items()}


def _check_geometry(
    network: str,
    num_stages: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    out_indices: Sequence[int],
    style: str,
) -> None:
    if not 1 <= num_stages <= 4:
        raise ValueError(f"{network}: num_stages={num_stages!r}, expected 1 to 4")
    for key, values in (("strides", strides), ("dilations", dilations)):
        if len(values) != num_stages or not all(isinstance(n, int) and n >= 1 for n in values):
            raise ValueError(
                f"{network}: {key}={values!r}, expected {num_stages} integers of at least 1"
            )
    if not out_indices or not {*out_indices} <= {*range(num_stages)}:
        raise ValueError(
            f"{network}: out_indices={out_indices!r}, expected some of 0 to {num_stages - 1}"
        )
    if style not in ("pytorch", "caffe"):
        raise ValueError(f"{network}: style={style!r}, expected 'pytorch' or 'caffe'")


def _twice_as_wide(conv: nn.Conv2d) -> nn.Conv2d:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return nn.Conv2d(2 * conv.in_channels, conv.out_channels, *shape, bias=False)
