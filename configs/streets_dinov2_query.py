_base_ = "streets_dinov2_full.py"
model_name = "query_vit4_w64"
model_title = "ViT4 w64 query"
model = dict(
    backbone=dict(out_indices=(1,)),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.QueryHead",
        in_channels=64,
        num_classes=19,
        queries=40,
        blocks=2,
        points=1024,
        align_corners=False,
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.8))
