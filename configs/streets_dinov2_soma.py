_base_ = "streets_dinov2_full.py"
model_name = "light_vit4_w64_soma"
model_title = "ViT4 w64 SoMA"
model = dict(
    backbone=dict(
        trained="none",
        adapter=dict(type="ibnseg.LoRA", start="minor", rank=8, split_qkv=True, bias=True),
    )
)
custom_hooks = [dict(type="EMAHook", momentum=0.02, begin_iter=20)]
