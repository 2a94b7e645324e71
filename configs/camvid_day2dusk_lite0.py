_base_ = "camvid_day2dusk_mobilenetv2.py"
model_name = "linear_lite0"
model_title = "EfficientNet-Lite0 linear"
model = dict(
    backbone=dict(
        type="ibnseg.Timm",
        name="tf_efficientnet_lite0",
        init_cfg=dict(checkpoint="timm://tf_efficientnet_lite0"),
    ),
    decode_head=dict(in_channels=(40, 112, 320)),
)
