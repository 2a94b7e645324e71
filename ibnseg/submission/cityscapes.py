"""Cityscapes' benchmark of pixel-level semantic labelling: label ids, not train ids.

*Verified* against the official script, cityscapesScripts 2.3.0, which accepts the unpacked archive
and gives the same IoU of each class (tests/submission/test_parity.py). It finds predictions
anywhere below a folder by ``<city>_<sequence>_<frame>*.png``, exactly one an image, and takes one
channel, palettes by their indices; it leaves with an error at RGB. Ids that are no class count as
wrong, and 255 may count as right by an overflow: both are refused here.

Source: mcordts/cityscapesScripts:cityscapesscripts/evaluation/evalPixelLevelSemanticLabeling.py;
that one zip of these files is uploaded is *reconstructed*: the script's text does not speak of it.
"""

from ibnseg.datasets.labels import CITYSCAPES, LABELS
from ibnseg.submission.target import Target

TARGET = Target(
    name="cityscapes",
    title="Cityscapes",
    domain="cityscapes",
    dataset="ibnseg.Cityscapes",
    class_set=CITYSCAPES,
    ids={label.train_id: label.id for label in LABELS if label.name in CITYSCAPES.classes},
    modes=("L", "P"),
    size=(2048, 1024),
    counts={"val": 500, "test": 1525},
    is_verified=True,
)
