_base_ = [
    "_base_/models/light_dinov2s-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2s_full"
model_title = "DINOv2-S full"
model = dict(backbone=dict(trained="all"))
optim_wrapper = dict(paramwise_cfg=dict(backbone_lr=0.1))
