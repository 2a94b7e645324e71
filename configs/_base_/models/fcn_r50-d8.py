# A dilated FCN with output stride 8 on ResNet50.
# "Similar to PSPNet without the pyramid pooling module", no decoder, output upsampled 8x bilinearly
# [author, XingangPan/IBN-Net issues 14 and 26]; the head's widths are our choice.
model_name = "fcn_r50-d8"
model_title = "ResNet50"
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    type="ibnseg.Segmentor",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],  # ImageNet's, RGB, with which the backbone was trained
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,  # the mean, because images are normalised before
        seg_pad_val=255,  # ignored
    ),
    backbone=dict(
        type="ibnseg.IBNResNet",
        depth=50,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    decode_head=dict(
        type="FCNHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        # the mean over the pixels that are not ignored
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
