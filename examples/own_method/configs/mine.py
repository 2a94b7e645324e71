_base_ = "streets_ibn18b.py"  # one of the package's
custom_imports = dict(imports=["mymethod"])
augment = [
    dict(
        type="ibnseg.FurtherView",
        name="color",
        transforms=[
            dict(type="ibnseg.ColorJitter", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.3)
        ],
    )
]
model = dict(
    further_losses=[dict(type="mymethod.Whitening", layer="backbone.layer1.1.IN", channels=32)]
)
custom_hooks = [dict(type="mymethod.SecondPhase", begin=100)]
model_name = "mine"
model_title = "IBN-Net18-b w32, whitened"
