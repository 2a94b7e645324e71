_base_ = "streets_r18.py"
model_name = "fcn_seibn50a-d16-w32"
model_title = "SE-IBN-Net50-a w32"
model = dict(
    backbone=dict(type="ibnseg.IBNSEResNet", depth=50, variant="a"),
    decode_head=dict(in_channels=1024),
)
