_base_ = "fcn_r18-d8.py"
model_name = "fcn_ibn18b-d8"
model_title = "IBN-Net18-b"
model = dict(
    backbone=dict(
        variant="b",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/XingangPan/IBN-Net/releases/download/v1.0/resnet18_ibn_b-bc2f3c11.pth",
        ),
    )
)
