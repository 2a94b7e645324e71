_base_ = "light_dinov2b-d4.py"
model_name = "query_dinov2b"
model_title = "DINOv2-B query"
model = dict(
    backbone=dict(out_indices=(8,), resample="timm", trained="all"),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.QueryHead",
        in_channels=768,
        num_classes=19,
        queries=100,
        blocks=3,  # [EoMT], for 12 blocks
        align_corners=False,
    ),
)
