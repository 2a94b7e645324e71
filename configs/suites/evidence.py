# Which of the paper's claims hold at small scale (docs/evidence.md)? Runs go seed by seed, so that
# those that are finished can be compared in pairs.
title = "Evidence"
streets = {"iterations": 240, "precision": "float32"}
camvid = {
    "iterations": 200,
    "precision": "float32",
    "crop_size": (160, 160),
    "model.backbone.base_channels": 32,
    "model.backbone.stem_channels": 32,
    "model.backbone.strides": (1, 2, 2, 1),
    "model.backbone.dilations": (1, 1, 1, 2),
    "model.decode_head.in_channels": 256,
    "model.decode_head.channels": 64,
}
networks = {"r18": "ResNet18 w32", "ibn18a": "IBN-Net18-a w32", "ibn18b": "IBN-Net18-b w32"}
a = networks["ibn18a"]
ablations = [
    (f"{a}, stage 1", {"model.backbone.stages": (True, False, False, False)}),
    (f"{a}, stages 1-2", {"model.backbone.stages": (True, True, False, False)}),
    (f"{a}, stages 1-4", {"model.backbone.stages": (True, True, True, True)}),
    (f"{a}, ratio 0.25", {"model.backbone.ratio": 0.25}),
    (f"{a}, ratio 0.75", {"model.backbone.ratio": 0.75}),
    (f"{a}, ratio 1", {"model.backbone.ratio": 1}),
]
runs = []
for seed in range(5):
    for domain, options in (("streets", streets), ("camvid_day2dusk", camvid)):
        runs += [
            dict(config=f"{domain}_{n}", title=t, options=options, seeds=(seed,))
            for n, t in networks.items()
        ]
    if seed < 3:
        runs += [
            dict(config="streets_ibn18a", title=t, options={**streets, **more}, seeds=(seed,))
            for t, more in ablations
        ]
del seed, domain, options
