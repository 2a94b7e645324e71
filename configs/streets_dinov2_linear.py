_base_ = "streets_dinov2_full.py"
model_name = "linear_vit4_w64"
model_title = "ViT4 w64 linear"
model = dict(
    backbone=dict(trained="none", out_indices=None, final_norm=True),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.LinearHead",
        in_channels=64,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
