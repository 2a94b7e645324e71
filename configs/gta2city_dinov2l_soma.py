# ysj9909/SoMA [SoMA]: low-rank changes of all linear layers that start from the minor singular
# directions. The head is ours instead of Mask2Former.
_base_ = [
    "_base_/models/light_dinov2l-d4.py",
    "_base_/schedules/soma_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2l_soma"
model_title = "DINOv2-L SoMA"
model = dict(
    backbone=dict(
        adapter=dict(
            type="ibnseg.LoRA",
            start="minor",  # [SoMA]
            rank=16,  # [SoMA]
            alpha=16,  # [SoMA]
            split_qkv=True,  # [SoMA]
            bias=True,  # [SoMA]
            blocks=list(range(8, 24)),  # [SoMA]
        )
    )
)
