# DINOv2-L whose last blocks are joined by queries, in the manner of tue-mps/eomt [EoMT]. The ViT is
# trained as a whole, without an adapter, as there.
_base_ = "light_dinov2l-d4.py"
model_name = "query_dinov2l"
model_title = "DINOv2-L query"
model = dict(
    backbone=dict(
        out_indices=(19,),  # what lies before the queries join
        resample="timm",  # [EoMT]
        trained="all",  # [EoMT]
    ),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.QueryHead",
        in_channels=1024,
        num_classes=19,
        queries=100,  # [EoMT], for Cityscapes
        blocks=4,  # [EoMT], for L
        align_corners=False,
    ),
)
