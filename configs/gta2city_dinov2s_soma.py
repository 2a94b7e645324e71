_base_ = [
    "_base_/models/light_dinov2s-d4.py",
    "_base_/schedules/soma_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2s_soma"
model_title = "DINOv2-S SoMA"
model = dict(
    backbone=dict(
        adapter=dict(
            type="ibnseg.LoRA",
            start="minor",
            rank=16,
            alpha=16,
            split_qkv=True,
            bias=True,
            blocks=list(range(4, 12)),  # the last two thirds, as of L [ours]
        )
    )
)
