_base_ = [
    "_base_/models/linear_dinov2s-d16.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
