_base_ = ["_base_/models/deeplabv3plus_ibn50b-d16.py", "_base_/schedules/robustnet_40k.py"]
train_domain = "gta5"  # all of its training split
test_domains = ["gta5", "cityscapes"]
protocol = "robustnet"
