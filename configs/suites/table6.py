# Pan et al., "Two at Once" (ECCV 2018), table 6: two directions, three networks.
title = "Across domains: GTA5 and Cityscapes"
seeds = (0,)
runs = [
    dict(config=f"{pair}_{network}")
    for pair in ("city2gta", "gta2city")
    for network in ("r50", "ibn50a", "ibn50b")
]
