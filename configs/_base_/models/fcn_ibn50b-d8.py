_base_ = "fcn_r50-d8.py"
model_name = "fcn_ibn50b-d8"
model_title = "IBN-Net50-b"
model = dict(
    backbone=dict(
        variant="b",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet50_ibn_b",
        ),
    )
)
