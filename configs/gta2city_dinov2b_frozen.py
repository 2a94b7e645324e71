_base_ = [
    "_base_/models/light_dinov2b-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
