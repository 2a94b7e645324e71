_base_ = ["_base_/models/fcn_ibn18a-d8.py", "_base_/schedules/camvid_cpu.py"]
train_domain = "camvid_day"
test_domains = ["camvid_day", "camvid_dusk"]
protocol = "native"
model = dict(backbone=dict(init_cfg=None))  # from scratch
