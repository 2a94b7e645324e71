_base_ = "streets_r18.py"
model_name = "fcn_ibnx50a-d16-w32"
model_title = "IBN-ResNeXt50-a w32"
model = dict(
    backbone=dict(type="ibnseg.IBNResNeXt", depth=50, variant="a", base_width=2),
    decode_head=dict(in_channels=1024),
)
