_base_ = "streets_r18.py"
model_name = "fcn_ibn18b-d16-w32"
model_title = "IBN-Net18-b w32"
model = dict(backbone=dict(variant="b"))
