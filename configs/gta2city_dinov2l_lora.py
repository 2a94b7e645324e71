# VFMNet of tpy001/VFMSeg [VFMSeg]: LoRA and the light head. There rare classes are drawn more often
# (temperature 0.01, 3000 pixels), windows have stride 320, and the iterate that is best on
# Cityscapes is reported; here none of these [ours].
_base_ = [
    "_base_/models/light_dinov2l-d4.py",
    "_base_/schedules/rein_40k.py",
]
train_domain = "gta5"
test_domains = ["gta5", "cityscapes"]
protocol = ["rein", "soma"]
model_name = "light_dinov2l_lora"
model_title = "DINOv2-L LoRA"
model = dict(
    backbone=dict(
        adapter=dict(
            type="ibnseg.LoRA",
            rank=32,  # [VFMSeg]
            alpha=32,  # [VFMSeg]
            layers=("attn.qkv",),  # of all blocks, without biases [VFMSeg]
            dropout=0.1,  # [VFMSeg]
        )
    )
)
