"""The head of DeepLabV3+ with plain convolutions, as domain generalisation uses it."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from mmengine.model import initialize
from mmseg.models.decode_heads import ASPPHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from ibnseg.registry import MODELS


@MODELS.register_module()
class DeepLabV3PlusHead(ASPPHead):
    """Atrous spatial pyramid pooling and a decoder (Chen et al., ECCV 2018), in the form of
    shachoi/RobustNet's ``network/deepv3.py``.

    mmseg's ``DepthwiseSeparableASPPHead`` has depthwise separable convolutions, and joins the
    pyramid's branches by a 3x3 convolution; here all convolutions are plain, and a 1x1 joins.

    Args:
        low_level_in: channels of the backbone's first feature.
        low_level: the number of channels to which these are reduced.
        kwargs: the arguments of mmseg's ``ASPPHead``.

    Shape:
        features, the first of stride 4, to logits of stride 4,
        ``(N, num_classes, H / 4, W / 4)``.

    ``init_cfg`` initialises all convolutions of the head, not the classifier alone.
    """

    def __init__(self, low_level_in: int = 256, low_level: int = 48, **kwargs) -> None:
        super().__init__(**kwargs)

        def conv(*args, **of_conv) -> ConvModule:
            shared = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
            return ConvModule(*args, **shared, **of_conv)

        width = self.channels
        self.bottleneck = conv((len(self.dilations) + 1) * width, width, 1)
        self.low_level = conv(low_level_in, low_level, 1)
        self.decoder = nn.Sequential(
            conv(low_level + width, width, 3, padding=1), conv(width, width, 3, padding=1)
        )

    def init_weights(self) -> None:
        super().init_weights()
        initialize(self, self.init_cfg)  # mmcv's modules have initialised themselves again

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        fine = self.low_level(inputs[0])
        coarse = resize(
            self._forward_feature(inputs),
            fine.shape[2:],
            mode="bilinear",
            align_corners=self.align_corners,
            warning=False,
        )
        return self.cls_seg(self.decoder(torch.cat([fine, coarse], dim=1)))
