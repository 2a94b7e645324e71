"""The class sets that networks are trained on, and what the labels of datasets become in them. The
facts and their sources are in the tables of :mod:`ibnseg.datasets.class_tables`, which ``ibnseg
classes`` prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ibnseg.datasets.class_tables import IGNORE, classes_of

if TYPE_CHECKING:  # the help of the commands needs no NumPy
    import numpy as np

UNKNOWN = 254
"""The result of looking up an id that is not in the table; it is never a train id."""


class Label(NamedTuple):
    """One class of the Cityscapes annotation."""

    name: str
    id: int  # in *_labelIds.png, and the palette index in GTA5's labels
    train_id: int  # 0 to 18, or IGNORE
    color: tuple[int, int, int]  # RGB
    category: str
    has_instances: bool  # whether *_instanceIds.png distinguishes single objects of the class


_CITYSCAPES = classes_of("cityscapes")
_IDS = _CITYSCAPES.ids("cityscapes")

LABELS = tuple(
    Label(row.name, row.id, _IDS[row.id], row.color, row.category, row.has_instances)
    for row in _CITYSCAPES.rows
    if row.color  # the void of other datasets has none
)
"""The classes of the Cityscapes annotation, in order of their ids."""

_TRAINED = sorted((x for x in LABELS if x.train_id != IGNORE), key=lambda x: x.train_id)

CLASSES = tuple(x.name for x in _TRAINED)
"""The 19 classes; a class's index is its train id."""

PALETTE = tuple(x.color for x in _TRAINED)
"""The colours of the 19 classes, RGB."""


class ClassSet(NamedTuple):
    """The classes of a domain's labels and of a network's logits; the index of a class is its train
    id."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]  # the colour of each class, RGB
    background: str | None = None  # the class that overlays leave out
    ids: tuple[int, ...] | None = None  # of each class in the dataset's own labels


CITYSCAPES = ClassSet("cityscapes", CLASSES, PALETTE, ids=tuple(x.id for x in _TRAINED))
"""The 19 classes of Cityscapes."""

_DRIVABLE = classes_of("bdd100k_drivable")

DRIVABLE = ClassSet(
    "drivable",
    _DRIVABLE.targets("drivable"),
    tuple(row.color for row in _DRIVABLE.rows),
    background="background",
    ids=tuple(row.id for row in _DRIVABLE.rows),
)
"""The drivable area of BDD100K: the lane that the car is in, other lanes, and everything else."""

CATEGORIES = {
    category: tuple(x.name for x in _TRAINED if x.category == category)
    for category in dict.fromkeys(x.category for x in _TRAINED)
}
"""The 7 categories, each with those of the 19 classes that belong to it."""

INSTANCE_CLASSES = tuple(x.name for x in _TRAINED if x.has_instances)
"""The classes that have instances, 8 of the 19."""

CITYSCAPES_IDS = _IDS
"""Ids in ``*_labelIds.png``, mapped to train ids. 255 is void in many data of this layout, and what
8 bits make of -1, Cityscapes' licence plate."""

GTA5_IDS = classes_of("gta5").ids("cityscapes")
"""Palette indices of GTA5's labels, mapped to train ids; 34 is the licence plate."""

GTA5_IDS_BY_COLOR = classes_of("gta5").ids("by_color")
"""Palette indices of GTA5's labels, mapped to the train ids of their colours, as in
shachoi/RobustNet:datasets/gtav.py."""

GTA5_COLORS = classes_of("gta5").colors("by_color")
"""RGB colours of GTA5's palette, mapped to train ids, for copies with labels stored as RGB."""

CAMVID_IDS = classes_of("camvid").ids("cityscapes")
"""Ids in CamVid's SegNet copy, mapped to train ids."""

CAMVID_CLASSES = tuple(CLASSES[each] for each in CAMVID_IDS.values() if each != IGNORE)
"""The 11 classes of CamVid's SegNet copy, by their names in Cityscapes; the index of a class is its
id, and 11 is void."""

MAPILLARY_IDS = classes_of("mapillary").ids("cityscapes")
"""Ids in the labels of Mapillary Vistas 1.2, mapped to train ids as in
shachoi/RobustNet:datasets/mapillary.py."""

MAPILLARY_OPENSEG_IDS = classes_of("mapillary").ids("openseg")
"""The same ids, mapped by the rule of openseg, as in
w1oves/Rein:tools/convert_datasets/mapillary2cityscape.py."""

BDD100K_IDS = classes_of("bdd100k").ids("cityscapes")
"""Ids in BDD100K's masks for semantic segmentation, which are train ids already."""

DRIVABLE_IDS = _DRIVABLE.ids("drivable")
"""Ids in BDD100K's drivable area masks since 2021 (direct, alternative, background), mapped to
train ids."""

DRIVABLE_2018_IDS = classes_of("bdd100k_drivable_2018").ids("drivable")
"""Ids in BDD100K's drivable maps of 2018, which the WAD 2018 challenge used, mapped to train
ids."""

_NOT_IN_SYNTHIA = ("terrain", "truck", "train")

SUBSETS = {
    "synthia16": tuple(name for name in CLASSES if name not in _NOT_IN_SYNTHIA),
    "synthia13": tuple(
        name for name in CLASSES if name not in (*_NOT_IN_SYNTHIA, "wall", "fence", "pole")
    ),
}
"""The classes of the 19 over which means are taken for networks that were trained on SYNTHIA, by
the usual names; three public scripts agree on them (lhoyer/DAFormer, yzou2/CBST, RoyalVane/CLAN).
The confusion matrix is that of all 19."""


def lookup_table(ids: dict[int, int]) -> np.ndarray:
    """Makes the (256,) uint8 table from ids to train ids; other ids become ``UNKNOWN``.

    Args:
        ids: a dataset's ids, 0 to 255, mapped to train ids.
    """
    import numpy as np

    table = np.full(256, UNKNOWN, np.uint8)
    table[list(ids)] = list(ids.values())
    return table
