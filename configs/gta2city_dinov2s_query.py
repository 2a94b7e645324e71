_base_ = [
    "_base_/models/query_dinov2s-d4.py",
    "_base_/schedules/eomt_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
