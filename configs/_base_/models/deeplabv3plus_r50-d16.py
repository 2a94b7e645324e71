# DeepLabV3+ (Chen et al., ECCV 2018), output stride 16, with which domain generalisation compares:
# DeepR50V3PlusD in shachoi/RobustNet, network/deepv3.py. Where each item comes from:
# [robustnet] read in its code; [ours] our choice, if we differ or it says nothing.
_base_ = "fcn_r50-d8.py"
model_name = "deeplabv3plus_r50-d16"
model_title = "DeepLabV3+ ResNet50"
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        strides=(1, 2, 2, 1),  # [robustnet]
        dilations=(1, 1, 1, 2),  # [robustnet]
    ),  # torchvision's ImageNet weights [robustnet]
    decode_head=dict(
        _delete_=True,
        type="ibnseg.DeepLabV3PlusHead",  # plain convolutions, a 1x1 after the pyramid [robustnet]
        in_channels=2048,
        in_index=3,
        channels=256,  # [robustnet]
        dilations=(1, 6, 12, 18),  # and the image's mean [robustnet]
        low_level_in=256,  # the first stage's output [robustnet]
        low_level=48,  # [robustnet]
        dropout_ratio=0.0,  # [robustnet]
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=True,  # [robustnet]
        loss_decode=dict(
            type="CrossEntropyLoss",  # without class weights [robustnet]
            avg_non_ignore=True,  # [robustnet]
        ),
        # normal, gain of ReLU, biases 0 [robustnet]
        init_cfg=dict(type="Kaiming", layer="Conv2d", mode="fan_in"),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,  # the third stage [robustnet]
        channels=512,  # [robustnet]
        num_convs=1,  # 3x3 [robustnet], without the bias that the normalisation removes [ours]
        concat_input=False,  # [robustnet]
        dropout_ratio=0.1,  # [robustnet]
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=True,  # logits are upsampled [ours]; RobustNet downsamples labels
        loss_decode=dict(
            type="CrossEntropyLoss",
            avg_non_ignore=True,  # [robustnet]
            loss_weight=0.4,  # [robustnet]
        ),
        # normal, gain of ReLU, biases 0 [robustnet]
        init_cfg=dict(type="Kaiming", layer="Conv2d", mode="fan_in"),
    ),
)
