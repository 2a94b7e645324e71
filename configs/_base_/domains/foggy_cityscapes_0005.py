_base_ = "foggy_cityscapes.py"
domain = dict(
    name="foggy_cityscapes_0005",
    title="Foggy Cityscapes 0.005",
    dataset=dict(betas=("0.005",)),
)
