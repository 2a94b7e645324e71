_base_ = ["_base_/models/fcn_ibn18a-d8.py", "_base_/schedules/paper_80e.py"]
custom_imports = dict(imports=["myproject.rail"])  # registers ibnseg.RailDrives
train_domain = "mine"
test_domains = ["mine", "mine_dusk"]
model = dict(decode_head=dict(num_classes=4))
crop_size = (64, 64)
batch = 4
