# What the light head alone learns, the base line of the adapters: they have the same head.
_base_ = [
    "_base_/models/light_dinov2l-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
