_base_ = "mobile.py"
model_name = "fcn_mobile"
model_title = "MobileNetV3"
model = dict(backbone=dict(ibn=0))
