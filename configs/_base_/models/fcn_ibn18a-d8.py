_base_ = "fcn_r18-d8.py"
model_name = "fcn_ibn18a-d8"
model_title = "IBN-Net18-a"
model = dict(
    backbone=dict(
        variant="a",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet18_ibn_a",
        ),
    )
)
