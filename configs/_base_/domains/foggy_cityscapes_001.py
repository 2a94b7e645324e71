_base_ = "foggy_cityscapes.py"
domain = dict(
    name="foggy_cityscapes_001",
    title="Foggy Cityscapes 0.01",
    dataset=dict(betas=("0.01",)),
)
