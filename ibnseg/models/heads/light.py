"""The light head of VFMNet, which enlarges the maps of a ViT fourfold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

LESS = 4
"""The channels of the first maps over those of the last."""

GROUPS = 32
"""Groups of channels that the first normalisation treats one by one."""


@MODELS.register_module()
class LightHead(BaseDecodeHead):
    """A 1x1 convolution of all maps, two transposed convolutions that double the size and halve the
    channels, and the classifier (tpy001/VFMSeg, ``rein/models/heads/linear_head.py``).

    Its BN is synchronised if the config's ``sync_bn`` says so; there it always is.

    Args:
        in_channels: channels of each map; all have the same number C, a multiple of 32, the
            number of groups of the first normalisation.
        kwargs: further arguments of mmseg's ``BaseDecodeHead``, ``in_index`` among them.

    Shape:
        maps ``(N, C, h, w)`` of one size to logits ``(N, num_classes, 4 h, 4 w)``.

    Raises:
        ValueError: for maps with different numbers of channels, or one that 32 does not divide.
        UserError: from ``forward``, for maps of different sizes.
    """

    def __init__(self, in_channels: Sequence[int], **kwargs) -> None:
        width = None if isinstance(in_channels, int) else in_channels[0]
        if width is None or {*in_channels} != {width} or width % GROUPS:
            raise ValueError(
                f"LightHead: in_channels={in_channels}, expected a list with the same multiple of "
                f"{GROUPS} for all maps"
            )
        super().__init__(
            in_channels,
            width // LESS,
            input_transform="multiple_select",
            norm_cfg=dict(type="GN", num_groups=GROUPS),
            **kwargs,
        )
        self.joined = ConvModule(len(in_channels) * width, width, 1, norm_cfg=self.norm_cfg)
        self.enlarged = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            nn.BatchNorm2d(width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // LESS, 2, stride=2),
            nn.GELU(),
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        maps = self._transform_inputs(inputs)
        sizes = [f"{each.shape[3]}x{each.shape[2]}" for each in maps]
        if len({*sizes}) > 1:
            raise UserError(
                f"LightHead: the maps are of {', '.join(sizes)}, expected one size, as of a ViT "
                "without pyramid"
            )
        return self.cls_seg(self.enlarged(self.joined(torch.cat(maps, dim=1))))
