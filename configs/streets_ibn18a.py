_base_ = "streets_r18.py"
model_name = "fcn_ibn18a-d8-w24"
model_title = "IBN-Net18-a w24"
model = dict(backbone=dict(variant="a"))
