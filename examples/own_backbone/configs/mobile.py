_base_ = ["_base_/models/fcn_r18-d8.py", "_base_/schedules/streets_cpu.py"]
custom_imports = dict(imports=["mynet.mobile"])  # registers MobileIBN
train_domain = "streets_virtual"
test_domains = ["streets_virtual", "streets_real"]
model_name = "fcn_mobile_ibn"
model_title = "MobileNetV3 with IBN"
model = dict(
    backbone=dict(_delete_=True, type="MobileIBN", ibn=4),
    decode_head=dict(type="FCNHead", in_channels=96, in_index=0, channels=64),
)
