_base_ = ["_base_/models/fcn_ibn18a-d8.py", "_base_/schedules/streets_cpu.py"]
custom_imports = dict(imports=["mymetric"])  # registers the metric
train_domain = "streets_virtual"
test_domains = ["streets_virtual", "streets_real"]
