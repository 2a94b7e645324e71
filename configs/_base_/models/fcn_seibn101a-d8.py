_base_ = "fcn_r50-d8.py"
model_name = "fcn_seibn101a-d8"
model_title = "SE-IBN-Net101-a"
model = dict(
    backbone=dict(
        type="ibnseg.IBNSEResNet",
        depth=101,
        variant="a",
        init_cfg=dict(type="Pretrained", checkpoint="ibnseg://se_resnet101_ibn_a"),
    )
)
