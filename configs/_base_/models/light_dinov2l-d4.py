# A frozen DINOv2-L with the light head of VFMNet. Sources: [Rein] w1oves/Rein,
# [VFMSeg] tpy001/VFMSeg, [ours]. All three have Mask2Former as their main head; its deformable
# attention needs compiled operators, so here are heads without it [ours].
# The weights are Meta's own file (Apache-2.0): its parts have checksums, which are verified, and
# names and shapes have to fit one by one. timm's name for them, timm://vit_large_patch14_dinov2,
# takes copies whose content cannot be verified.
model_name = "light_dinov2l"
model_title = "DINOv2-L frozen"
model = dict(
    type="ibnseg.Segmentor",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],  # ImageNet's, RGB [Rein]
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,  # the mean, because images are normalised before
        seg_pad_val=255,  # ignored
        test_cfg=dict(size_divisor=16),  # images that patches do not fill are padded
    ),
    backbone=dict(
        type="ibnseg.ViT",
        name="vit_large_patch14_dinov2",
        patch_size=16,  # [Rein]
        image_size=512,  # the grid of the positions, that of a crop [Rein]
        resample="rein",  # of patch kernel and positions: plain bicubic [Rein]
        out_indices=(7, 11, 15, 23),  # outputs of these blocks, without the last norm [Rein]
        trained="none",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        ),
    ),
    decode_head=dict(
        type="ibnseg.LightHead",
        in_channels=[1024] * 4,  # [VFMSeg]
        in_index=[0, 1, 2, 3],
        dropout_ratio=0.1,  # [VFMSeg]
        num_classes=19,
        align_corners=False,
        # the mean over labelled pixels [ours]
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),  # [Rein]
)
