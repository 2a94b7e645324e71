# How much of the task DINOv2's features hold already: nothing but a linear layer is trained.
_base_ = [
    "_base_/models/linear_dinov2l-d16.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
