# w1oves/Rein [Rein]: tokens that refine the features behind each block. There they are linked to
# Mask2Former's queries; the light head has none, so there is no link (2 530 817 of 2 990 081
# parameters).
_base_ = [
    "_base_/models/light_dinov2l-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2l_rein"
model_title = "DINOv2-L Rein"
model = dict(
    backbone=dict(adapter=dict(type="ibnseg.Rein", tokens=100, rank=16, scale=0.001))
)  # [Rein]
