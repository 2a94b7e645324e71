_base_ = "fcn_r50-d8.py"
model_name = "fcn_ibnx101a-d8"
model_title = "IBN-ResNeXt101-a"
model = dict(
    backbone=dict(
        type="ibnseg.IBNResNeXt",
        depth=101,
        variant="a",
        init_cfg=dict(type="Pretrained", checkpoint="ibnseg://resnext101_ibn_a"),
    )
)
