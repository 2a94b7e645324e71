_base_ = ["_base_/models/fcn_ibndense169a-d8.py", "_base_/schedules/paper_80e.py"]
train_domain = "gta5"
train_subset = "quarter"  # as many images as Cityscapes has [memory]; "full" takes all
test_domains = ["gta5", "cityscapes"]
protocol = "native"
