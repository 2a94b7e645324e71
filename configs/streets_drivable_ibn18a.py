_base_ = "streets_drivable_r18.py"
model_name = "fcn_ibn18a-d16-w32"
model_title = "IBN-Net18-a w32"
model = dict(backbone=dict(variant="a"))
