_base_ = "streets_dinov2_full.py"
model_name = "light_vit4_w64_rein"
model_title = "ViT4 w64 Rein"
model = dict(backbone=dict(trained="none", adapter=dict(type="ibnseg.Rein", tokens=20, rank=8)))
