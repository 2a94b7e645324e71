# A plain ViT as a mask classifier, in the manner of EoMT; see the files in _base_.
_base_ = [
    "_base_/models/query_dinov2l-d4.py",
    "_base_/schedules/eomt_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
