"""The table of classes: names, ids, train ids, colours and categories. ``python -m
ibnseg.datasets.labels`` prints it.

Sources: for Cityscapes, cityscapesScripts ``helpers/labels.py``; for GTA5, ``mapping.mat`` of its
read-mapping code; for CamVid, the 11 classes and void of the SegNet copy; for Mapillary Vistas 1.2,
the two maps in use; for BDD100K, bdd100k/bdd100k:bdd100k/label/label.py and doc/source/format.rst,
and for its release of 2018 the README of that time (commit 3e762ca).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the help of the commands needs no NumPy
    import numpy as np

IGNORE = 255
"""The train id of pixels that are neither trained on nor counted."""

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


LABELS = (
    Label("unlabeled", 0, IGNORE, (0, 0, 0), "void", False),
    Label("ego vehicle", 1, IGNORE, (0, 0, 0), "void", False),
    Label("rectification border", 2, IGNORE, (0, 0, 0), "void", False),
    Label("out of roi", 3, IGNORE, (0, 0, 0), "void", False),
    Label("static", 4, IGNORE, (0, 0, 0), "void", False),
    Label("dynamic", 5, IGNORE, (111, 74, 0), "void", False),
    Label("ground", 6, IGNORE, (81, 0, 81), "void", False),
    Label("road", 7, 0, (128, 64, 128), "flat", False),
    Label("sidewalk", 8, 1, (244, 35, 232), "flat", False),
    Label("parking", 9, IGNORE, (250, 170, 160), "flat", False),
    Label("rail track", 10, IGNORE, (230, 150, 140), "flat", False),
    Label("building", 11, 2, (70, 70, 70), "construction", False),
    Label("wall", 12, 3, (102, 102, 156), "construction", False),
    Label("fence", 13, 4, (190, 153, 153), "construction", False),
    Label("guard rail", 14, IGNORE, (180, 165, 180), "construction", False),
    Label("bridge", 15, IGNORE, (150, 100, 100), "construction", False),
    Label("tunnel", 16, IGNORE, (150, 120, 90), "construction", False),
    Label("pole", 17, 5, (153, 153, 153), "object", False),
    Label("polegroup", 18, IGNORE, (153, 153, 153), "object", False),
    Label("traffic light", 19, 6, (250, 170, 30), "object", False),
    Label("traffic sign", 20, 7, (220, 220, 0), "object", False),
    Label("vegetation", 21, 8, (107, 142, 35), "nature", False),
    Label("terrain", 22, 9, (152, 251, 152), "nature", False),
    Label("sky", 23, 10, (70, 130, 180), "sky", False),
    Label("person", 24, 11, (220, 20, 60), "human", True),
    Label("rider", 25, 12, (255, 0, 0), "human", True),
    Label("car", 26, 13, (0, 0, 142), "vehicle", True),
    Label("truck", 27, 14, (0, 0, 70), "vehicle", True),
    Label("bus", 28, 15, (0, 60, 100), "vehicle", True),
    Label("caravan", 29, IGNORE, (0, 0, 90), "vehicle", True),
    Label("trailer", 30, IGNORE, (0, 0, 110), "vehicle", True),
    Label("train", 31, 16, (0, 80, 100), "vehicle", True),
    Label("motorcycle", 32, 17, (0, 0, 230), "vehicle", True),
    Label("bicycle", 33, 18, (119, 11, 32), "vehicle", True),
)

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

DRIVABLE = ClassSet(
    "drivable",
    ("direct", "alternative", "background"),
    ((219, 94, 86), (86, 211, 219), (0, 0, 0)),
    background="background",
    ids=(0, 1, 2),
)
"""The drivable area of BDD100K: the lane that the car is in, other lanes, and everything else."""

CATEGORIES = {
    category: tuple(x.name for x in _TRAINED if x.category == category)
    for category in dict.fromkeys(x.category for x in _TRAINED)
}
"""The 7 categories, each with those of the 19 classes that belong to it."""

INSTANCE_CLASSES = tuple(x.name for x in _TRAINED if x.has_instances)
"""The classes that have instances, 8 of the 19."""

CITYSCAPES_IDS = {**{x.id: x.train_id for x in LABELS}, 255: IGNORE}
"""Ids in ``*_labelIds.png``, mapped to train ids. 255 is void in many data of this layout, and what
8 bits make of -1, Cityscapes' licence plate."""

GTA5_IDS = {**CITYSCAPES_IDS, 34: IGNORE}
"""Palette indices of GTA5's labels, mapped to train ids; 34 is the licence plate."""

GTA5_COLORS = {
    # car and licence plate share (0, 0, 142), pole and pole group share (153, 153, 153)
    **{x.color: x.train_id for x in LABELS if x.name != "polegroup"},
    (20, 20, 20): IGNORE,  # static in GTA5's palette
}
"""RGB colours of GTA5's palette, mapped to train ids, for copies with labels stored as RGB."""

GTA5_IDS_BY_COLOR = {
    **GTA5_IDS,
    18: CLASSES.index("pole"),  # the pole group has the pole's colour
    34: CLASSES.index("car"),  # the licence plate has the car's
}
"""Palette indices of GTA5's labels, mapped to the train ids of their colours, as in
shachoi/RobustNet:datasets/gtav.py."""

CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "sidewalk",
    "vegetation",
    "traffic sign",
    "fence",
    "car",
    "person",
    "rider",
)
"""The 11 classes of CamVid's SegNet copy, by their names in Cityscapes; the index of a class is its
id, and 11 is void."""

CAMVID_IDS = {**{i: CLASSES.index(name) for i, name in enumerate(CAMVID_CLASSES)}, 11: IGNORE}
"""Ids in CamVid's SegNet copy, mapped to train ids."""

_MAPILLARY_CLASSES = {
    "road": (13, 24, 41),  # and lane marking (general), manhole
    "sidewalk": (2, 15),  # curb
    "building": (17,),
    "wall": (6,),
    "fence": (3,),
    "pole": (45, 47),  # and utility pole
    "traffic light": (48,),
    "traffic sign": (50,),  # its front
    "vegetation": (30,),
    "terrain": (29,),
    "sky": (27,),
    "person": (19,),
    "rider": (20, 21, 22),  # bicyclist, motorcyclist, other rider
    "car": (55,),
    "truck": (61,),
    "bus": (54,),
    "train": (58,),  # on rails
    "motorcycle": (57,),
    "bicycle": (52,),
}

MAPILLARY_IDS = {
    **dict.fromkeys(range(66), IGNORE),
    **{id_: CLASSES.index(name) for name, ids in _MAPILLARY_CLASSES.items() for id_ in ids},
}
"""Ids in the labels of Mapillary Vistas 1.2, mapped to train ids as in
shachoi/RobustNet:datasets/mapillary.py and
yasserben/CLOUDS:tools/convert_datasets/mapillary.py."""

_OPENSEG_CHANGES = {
    "road": (7, 8, 10, 14, 23),  # bike lane, crosswalk, parking, service lane, crosswalk marking
    "sidewalk": (9, 11),  # curb cut, pedestrian area
    "pole": (44,),  # street light
    "traffic sign": (46, 49),  # its frame and its back
}

MAPILLARY_OPENSEG_IDS = {
    **MAPILLARY_IDS,
    **{id_: CLASSES.index(name) for name, ids in _OPENSEG_CHANGES.items() for id_ in ids},
    41: IGNORE,  # manhole
}
"""The same ids, mapped by the rule of openseg, as in
w1oves/Rein:tools/convert_datasets/mapillary2cityscape.py."""

BDD100K_IDS = {**{i: i for i in range(len(CLASSES))}, 255: IGNORE}
"""Ids in BDD100K's masks for semantic segmentation, which are train ids already."""

DRIVABLE_IDS = {0: 0, 1: 1, 2: 2}
"""Ids in BDD100K's drivable area masks since 2021 (direct, alternative, background), mapped to
train ids."""

DRIVABLE_2018_IDS = {
    0: DRIVABLE.classes.index("background"),
    1: DRIVABLE.classes.index("direct"),
    2: DRIVABLE.classes.index("alternative"),
}
"""Ids in BDD100K's drivable maps of 2018, which the WAD 2018 challenge used, mapped to train
ids."""


def lookup_table(ids: dict[int, int]) -> np.ndarray:
    """Makes the (256,) uint8 table from ids to train ids; other ids become ``UNKNOWN``.

    Args:
        ids: a dataset's ids, 0 to 255, mapped to train ids.
    """
    import numpy as np

    table = np.full(256, UNKNOWN, np.uint8)
    table[list(ids)] = list(ids.values())
    return table


if __name__ == "__main__":
    print(f"{'name':<22}{'id':>4}{'train id':>10}  {'colour':<17}{'category':<14}instances")
    for label in LABELS:
        print(
            f"{label.name:<22}{label.id:>4}{label.train_id:>10}  {label.color!s:<17}"
            f"{label.category:<14}{'yes' if label.has_instances else 'no'}"
        )
