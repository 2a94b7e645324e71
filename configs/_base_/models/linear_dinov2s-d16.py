_base_ = "light_dinov2s-d4.py"
model_name = "linear_dinov2s"
model_title = "DINOv2-S linear"
model = dict(
    backbone=dict(out_indices=None, final_norm=True, resample="timm"),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.LinearHead",
        in_channels=384,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
