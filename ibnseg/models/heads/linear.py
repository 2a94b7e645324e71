"""The linear head: how well features tell classes apart by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from ibnseg.registry import MODELS


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """A normalisation and a 1x1 convolution.

    With ``norm_cfg=dict(type="BN")`` it is the head of DINOv2's linear evaluation (Oquab et al.,
    TMLR 2024; class ``BNHead`` of facebookresearch/dinov2, whose dropout is 0). Without, it is that
    of tue-mps/benchmark-vfm-ss: one linear layer over a ViT's tokens behind its last norm, which
    ``backbone.final_norm=True`` gives.

    Args:
        in_channels: channels of the map, or of each map; several are resized to the first, and
            concatenated.
        in_index: the map, or the maps, among the backbone's.
        norm_cfg: mmcv's config of the normalisation, or ``None``.
        dropout_ratio: share of channels that are dropped in front of the convolution, in [0, 1).
        kwargs: further arguments of mmseg's ``BaseDecodeHead``.

    Shape:
        maps ``(N, C, h, w)`` to logits ``(N, num_classes, h, w)``, of the first map's size.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        *,
        in_index: int | Sequence[int] = -1,
        norm_cfg: dict | None = None,
        dropout_ratio: float = 0,
        **kwargs,
    ) -> None:
        is_one = isinstance(in_channels, int)
        width = in_channels if is_one else sum(in_channels)
        super().__init__(
            in_channels,
            width,
            in_index=in_index,
            input_transform=None if is_one else "resize_concat",
            norm_cfg=norm_cfg,
            dropout_ratio=dropout_ratio,
            **kwargs,
        )
        self.norm = nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, width)[1]

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))
