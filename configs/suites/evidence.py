# Which of the paper's claims hold at small scale: docs/evidence.md.
title = "Evidence"
seeds = (0, 1, 2, 3, 4)
networks = ("r18", "ibn18a", "ibn18b")
runs = [dict(config=f"streets_{network}") for network in networks]
runs += [dict(config=f"camvid_day2dusk_{network}") for network in networks]
