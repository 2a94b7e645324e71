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
model_title = "ResNet18 w32"
# 1 / sqrt(share of the training pixels), by train id; 1 on average over the pixels
weights = [0.6, 1.5, 0.6, 3.0, 3.8, 2.8, 9.3, 4.9, 0.8, 2.0]
weights += [1.0, 3.5, 8.5, 1.0, 2.8, 2.3, 3.6, 5.0, 6.7]
model = dict(
    backbone=dict(
        base_channels=32,
        stem_channels=32,
        strides=(1, 2, 2, 1),  # output stride 16
        dilations=(1, 1, 1, 2),
        init_cfg=None,
    ),
    decode_head=dict(
        in_channels=256,
        channels=64,
        # with class weights, mmseg leaves out ignored pixels only if this is False
        loss_decode=dict(avg_non_ignore=False, class_weight=weights),
    ),
)
del weights
