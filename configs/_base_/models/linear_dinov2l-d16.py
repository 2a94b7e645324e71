# A frozen DINOv2-L and one linear layer over its tokens, as tue-mps/benchmark-vfm-ss has them
# [linear].
_base_ = "light_dinov2l-d4.py"
model_name = "linear_dinov2l"
model_title = "DINOv2-L linear"
model = dict(
    backbone=dict(
        out_indices=None,  # the last block
        final_norm=True,  # [linear]
        resample="timm",  # [linear]
    ),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.LinearHead",
        in_channels=1024,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
