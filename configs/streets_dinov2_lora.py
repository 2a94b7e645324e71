_base_ = "streets_dinov2_full.py"
model_name = "light_vit4_w64_lora"
model_title = "ViT4 w64 LoRA"
model = dict(
    backbone=dict(
        trained="none", adapter=dict(type="ibnseg.LoRA", rank=8, layers=("attn.qkv",), dropout=0.1)
    )
)
