# The drivable area of BDD100K: direct, alternative and background, at the stored 1280x720.
_base_ = ["_base_/models/deeplabv3_ibn50a-d8.py", "_base_/schedules/drivable_80k.py"]
train_domain = "bdd100k_drivable"
test_domains = ["bdd100k_drivable"]
protocol = "native"
model = dict(decode_head=dict(num_classes=3))
