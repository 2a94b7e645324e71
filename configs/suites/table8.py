# Pan et al., "Two at Once" (ECCV 2018), table 8: from GTA5 to Cityscapes with some of its images.
# Rate 0.003 and 40 epochs [paper]; the rest as trained on GTA5 [ours].
title = "Fine-tuned from GTA5 to Cityscapes"
seeds = (0,)
networks = dict(r50="ResNet50", ibn50a="IBN-Net50-a")
runs = [dict(config=f"gta2city_{name}", title=title_) for name, title_ in networks.items()]
runs += [
    dict(
        config=f"city2gta_{name}",
        title=f"{title_} fine-tuned with {'100%' if subset == 'full' else subset}",
        start=title_,
        options={
            "train_subset": subset,
            "optimizer.lr": 0.003,
            "epochs": 40,
            "test_domains": ["cityscapes"],
        },
    )
    for name, title_ in networks.items()
    for subset in ("10%", "20%", "30%", "full")
]
