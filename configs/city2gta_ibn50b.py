_base_ = ["_base_/models/fcn_ibn50b-d8.py", "_base_/schedules/paper_80e.py"]
train_domain = "cityscapes"
test_domains = ["cityscapes", "gta5"]
protocol = "native"
