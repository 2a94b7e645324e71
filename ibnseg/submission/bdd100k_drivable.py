"""BDD100K drivable area as its server has taken it since 2021 (EvalAI, challenge 1280).

*Verified* against the official toolkit, bdd100k 1.0.1, which accepts the unpacked archive and gives
the same IoU as :mod:`ibnseg.evaluation.drivable` (tests/submission/test_parity.py). The toolkit
matches files by their stems and reads masks with Pillow, so that a palette PNG is taken by its
indices; RGB fails. A missing mask would count as background, an id out of range too: both are
refused here.

Sources: bdd100k/bdd100k:doc/source/format.rst (one channel of 8 bits; 0 direct, 1 alternative, 2
background), doc/source/evaluate.rst ("a folder of masks"), bdd100k/eval/{run,seg}.py; the zip of
the masks, without a folder in it, is *reconstructed*: the server does not answer any more.
"""

from ibnseg.datasets.labels import DRIVABLE
from ibnseg.submission.target import Target

TARGET = Target(
    name="bdd100k-drivable",
    title="BDD100K drivable area",
    domain="bdd100k_drivable",
    dataset="ibnseg.BDD100KDrivable",
    class_set=DRIVABLE,
    ids={0: 0, 1: 1, 2: 2},
    modes=("L", "P"),
    size=(1280, 720),
    counts={"val": 10000, "test": 20000},
    is_verified=True,
    drivable_release="2021",
)
