# A ViT of four blocks in place of DINOv2, from scratch, on streets that draw themselves (ibnseg
# streets data); the other streets_dinov2_* are over it. They show in minutes, on a processor, how
# adapters and heads are trained, tested and resumed, and say nothing about their worth, because
# adapters need pretrained weights.
_base_ = ["_base_/models/light_dinov2s-d4.py", "_base_/schedules/streets_cpu.py"]
train_domain = "streets_virtual"
test_domains = ["streets_virtual", "streets_real"]
protocol = "native"
model_name = "light_vit4_w64"
model_title = "ViT4 w64 full"
model = dict(
    backbone=dict(
        image_size=(160, 256),
        out_indices=(0, 1, 2, 3),
        trained="all",
        options=dict(depth=4, embed_dim=64, num_heads=4, init_values=1.0),
        init_cfg=None,
    ),
    decode_head=dict(in_channels=[64] * 4),
    test_cfg=dict(_delete_=True, mode="whole"),
)
optim_wrapper = dict(constructor="ibnseg.LayerRates")
