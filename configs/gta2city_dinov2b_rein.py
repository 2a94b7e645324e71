_base_ = [
    "_base_/models/light_dinov2b-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2b_rein"
model_title = "DINOv2-B Rein"
model = dict(backbone=dict(adapter=dict(type="ibnseg.Rein", tokens=100, rank=16, scale=0.001)))
