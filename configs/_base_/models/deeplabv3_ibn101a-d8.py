_base_ = "deeplabv3_ibn50a-d8.py"
model_name = "deeplabv3_ibn101a-d8"
model_title = "DeepLabV3 IBN-Net101-a"
model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint="ibnseg://resnet101_ibn_a"),
    )
)
