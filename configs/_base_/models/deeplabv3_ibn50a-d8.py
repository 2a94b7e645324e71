_base_ = "deeplabv3_r50-d8.py"
model_name = "deeplabv3_ibn50a-d8"
model_title = "DeepLabV3 IBN-Net50-a"
model = dict(
    backbone=dict(
        variant="a",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet50_ibn_a",
        ),
    )
)
