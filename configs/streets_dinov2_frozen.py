_base_ = "streets_dinov2_full.py"
model_name = "light_vit4_w64_frozen"
model_title = "ViT4 w64 frozen"
model = dict(backbone=dict(trained="none"))
