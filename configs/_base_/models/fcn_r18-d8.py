_base_ = "fcn_r50-d8.py"
model_name = "fcn_r18-d8"
model_title = "ResNet18"
model = dict(
    backbone=dict(
        depth=18,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
    ),
    # a quarter of ResNet50's channels, in the features and in the head
    decode_head=dict(in_channels=512, channels=128),
)
