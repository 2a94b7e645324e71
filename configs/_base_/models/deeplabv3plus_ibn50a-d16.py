# From the published IBN weights [ours]. RobustNet's "IBN" is variant b, from plain weights.
_base_ = "deeplabv3plus_r50-d16.py"
model_name = "deeplabv3plus_ibn50a-d16"
model_title = "DeepLabV3+ IBN-Net50-a"
model = dict(
    backbone=dict(
        variant="a",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="ibnseg://resnet50_ibn_a",
        ),
    )
)
