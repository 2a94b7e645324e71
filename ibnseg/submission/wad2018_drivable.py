"""The drivable area track of the WAD 2018 challenge at CVPR, whose server is gone.

*Reconstructed* from documents: bdd100k/bdd100k:doc/evaluation.md as of 2018 (files ``XXX*.png``,
where XXX identifies the image; the size of the image), README.md at commit 3e762ca (0 background, 1
direct, 2 alternative) and bdd_data/evaluate.py at 7f7259a (the identifier is the 17 characters of
the image's name). The zip of the files, without a folder in it, is our choice.
"""

from ibnseg.datasets.labels import DRIVABLE, DRIVABLE_2018_IDS
from ibnseg.submission.target import Target

TARGET = Target(
    name="wad2018-drivable",
    title="WAD 2018 drivable area",
    domain="bdd100k_drivable",
    dataset="ibnseg.BDD100KDrivable",
    class_set=DRIVABLE,
    ids={train_id: id_ for id_, train_id in DRIVABLE_2018_IDS.items()},
    modes=("L",),
    size=(1280, 720),
    counts={"val": 10000, "test": 20000},
    is_verified=False,
    drivable_release="2018",
)
