_base_ = "fcn_r50-d8.py"
model_name = "fcn_ibndense169a-d8"
model_title = "IBN-DenseNet169-a"
model = dict(
    backbone=dict(
        type="ibnseg.IBNDenseNet",
        depth=169,
        variant="a",
        init_cfg=dict(type="Pretrained", checkpoint="ibnseg://densenet169_ibn_a"),
    ),
    decode_head=dict(in_channels=1664),
)
