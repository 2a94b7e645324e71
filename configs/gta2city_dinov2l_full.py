# All of DINOv2 is trained, at a tenth of the head's rate: at the full rate it collapses to a mean
# mIoU of 32 (w1oves/Rein, issue 45 [Rein]).
_base_ = [
    "_base_/models/light_dinov2l-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2l_full"
model_title = "DINOv2-L full"
model = dict(backbone=dict(trained="all"))
optim_wrapper = dict(paramwise_cfg=dict(backbone_lr=0.1))  # [Rein]
