# DeepLabV3 (Chen et al., 2017) with mmseg's head, output stride 8.
_base_ = "fcn_r50-d8.py"
model_name = "deeplabv3_r50-d8"
model_title = "DeepLabV3 ResNet50"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="ASPPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
