"""BDD100K semantic segmentation (EvalAI, challenge 1257): 10k images, train ids 0 to 18.

*Verified* against the official toolkit, bdd100k 1.0.1, which accepts the unpacked archive and gives
the same IoU of each class (tests/submission/test_parity.py). It reads masks with Pillow, so that a
palette PNG is taken by its indices; RGB fails. An id out of range would count as unknown: it is
refused here.

Sources: bdd100k/bdd100k:doc/source/format.rst (one channel of 8 bits, train ids),
bdd100k/eval/{run,seg}.py; the zip of the masks, without a folder in it, is *reconstructed*: the
server does not answer any more.
"""

from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.submission.target import Target

TARGET = Target(
    name="bdd100k-sem-seg",
    title="BDD100K semantic segmentation",
    domain="bdd100k",
    dataset="ibnseg.BDD100K",
    class_set=CITYSCAPES,
    ids={i: i for i in range(len(CITYSCAPES.classes))},
    modes=("L", "P"),
    size=(1280, 720),
    counts={"val": 1000, "test": 2000},
    is_verified=True,
)
