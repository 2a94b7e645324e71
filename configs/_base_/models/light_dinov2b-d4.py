_base_ = "light_dinov2l-d4.py"
model_name = "light_dinov2b"
model_title = "DINOv2-B frozen"
model = dict(
    backbone=dict(
        name="vit_base_patch14_dinov2",
        out_indices=(2, 5, 8, 11),  # every third of 12 blocks [ours]; [Rein] has B, but we know no
        # file that says which
        init_cfg=dict(
            checkpoint="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth"
        ),
    ),
    decode_head=dict(in_channels=[768] * 4),
)
