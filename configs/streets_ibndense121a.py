_base_ = "streets_r18.py"
model_name = "fcn_ibndense121a-d16-g16"
model_title = "IBN-DenseNet121-a g16"
model = dict(
    backbone=dict(
        _delete_=True,
        type="ibnseg.IBNDenseNet",
        depth=121,
        variant="a",
        growth_rate=16,
        strides=(1, 2, 2, 1),  # output stride 16
        dilations=(1, 1, 1, 2),
    ),
    decode_head=dict(in_channels=512),
)
