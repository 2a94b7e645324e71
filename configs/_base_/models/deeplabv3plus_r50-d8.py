# DeepLabV3+ (Chen et al., ECCV 2018) with mmseg's head, output stride 8.
_base_ = "fcn_r50-d8.py"
model_name = "deeplabv3plus_r50-d8"
model_title = "DeepLabV3+ ResNet50"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="DepthwiseSeparableASPPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
