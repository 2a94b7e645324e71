# A linear head over the maps of strides 8, 16 and 32 of ImageNet's MobileNetV2, of which nothing is
# trained; with --cfg-options feature_draws=8 from stored features (docs/training.md).
_base_ = ["_base_/models/fcn_r50-d8.py", "_base_/schedules/camvid_cpu.py"]
train_domain = "camvid_day"
test_domains = ["camvid_day", "camvid_dusk"]
protocol = "native"
precision = "float32"
channels_last = False
model_name = "linear_mobilenetv2"
model_title = "MobileNetV2 linear"
model = dict(
    backbone=dict(
        _delete_=True,
        type="ibnseg.Torchvision",
        name="mobilenet_v2",
        out_indices=(2, 3, 4),
        frozen_stages=4,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://mobilenet_v2"),
    ),
    decode_head=dict(
        _delete_=True,
        type="ibnseg.LinearHead",
        in_channels=(32, 96, 1280),
        in_index=(0, 1, 2),
        norm_cfg=dict(type="BN"),
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
