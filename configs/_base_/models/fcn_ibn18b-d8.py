_base_ = "fcn_r18-d8.py"
model_name = "fcn_ibn18b-d8"
model_title = "IBN-Net18-b"
model = dict(
    backbone=dict(
        variant="b",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet18_ibn_b",
        ),
    )
)
