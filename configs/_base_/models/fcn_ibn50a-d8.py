_base_ = "fcn_r50-d8.py"
model_name = "fcn_ibn50a-d8"
model_title = "IBN-Net50-a"
model = dict(
    backbone=dict(
        variant="a",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet50_ibn_a",
        ),
    )
)
