# The demo: a small network, from scratch, on streets that draw themselves (ibnseg streets data).
_base_ = ["_base_/models/fcn_r18-d8.py", "_base_/schedules/streets_cpu.py"]
train_domain = "streets_virtual"
test_domains = [
    "streets_virtual",
    "streets_real",
    "streets_dusk",
    "streets_fog",
    "streets_night",
    "streets_rain",
]
protocol = "native"
model_name = "fcn_r18-d16-w32"
model_title = "ResNet18, half as wide"
model = dict(
    backbone=dict(
        base_channels=32,
        stem_channels=32,
        strides=(1, 2, 2, 1),  # output stride 16
        dilations=(1, 1, 1, 2),
        init_cfg=None,
    ),
    decode_head=dict(in_channels=256, channels=64),
)
