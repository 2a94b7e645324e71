"""The table of classes against values typed from the datasets' own definitions."""

import numpy as np

from ibnseg.datasets.labels import (
    CAMVID_CLASSES,
    CAMVID_IDS,
    CATEGORIES,
    CITYSCAPES_IDS,
    CLASSES,
    GTA5_COLORS,
    GTA5_IDS,
    GTA5_IDS_BY_COLOR,
    INSTANCE_CLASSES,
    LABELS,
    PALETTE,
    UNKNOWN,
    lookup_table,
)

# cityscapesScripts helpers/labels.py: id, train id, name, colour
TRAINED = [
    (7, 0, "road", (128, 64, 128)),
    (8, 1, "sidewalk", (244, 35, 232)),
    (11, 2, "building", (70, 70, 70)),
    (12, 3, "wall", (102, 102, 156)),
    (13, 4, "fence", (190, 153, 153)),
    (17, 5, "pole", (153, 153, 153)),
    (19, 6, "traffic light", (250, 170, 30)),
    (20, 7, "traffic sign", (220, 220, 0)),
    (21, 8, "vegetation", (107, 142, 35)),
    (22, 9, "terrain", (152, 251, 152)),
    (23, 10, "sky", (70, 130, 180)),
    (24, 11, "person", (220, 20, 60)),
    (25, 12, "rider", (255, 0, 0)),
    (26, 13, "car", (0, 0, 142)),
    (27, 14, "truck", (0, 0, 70)),
    (28, 15, "bus", (0, 60, 100)),
    (31, 16, "train", (0, 80, 100)),
    (32, 17, "motorcycle", (0, 0, 230)),
    (33, 18, "bicycle", (119, 11, 32)),
]
VOID = [
    (0, 255, "unlabeled", (0, 0, 0)),
    (1, 255, "ego vehicle", (0, 0, 0)),
    (2, 255, "rectification border", (0, 0, 0)),
    (3, 255, "out of roi", (0, 0, 0)),
    (4, 255, "static", (0, 0, 0)),
    (5, 255, "dynamic", (111, 74, 0)),
    (6, 255, "ground", (81, 0, 81)),
    (9, 255, "parking", (250, 170, 160)),
    (10, 255, "rail track", (230, 150, 140)),
    (14, 255, "guard rail", (180, 165, 180)),
    (15, 255, "bridge", (150, 100, 100)),
    (16, 255, "tunnel", (150, 120, 90)),
    (18, 255, "polegroup", (153, 153, 153)),
    (29, 255, "caravan", (0, 0, 90)),
    (30, 255, "trailer", (0, 0, 110)),
]


def test_every_label_has_its_published_id_train_id_and_colour():
    assert sorted((x.id, x.train_id, x.name, x.color) for x in LABELS) == sorted(TRAINED + VOID)
    assert sorted(x.id for x in LABELS) == list(range(34))


def test_train_ids_are_a_bijection_onto_the_19_classes():
    assert sorted(x.train_id for x in LABELS if x.train_id != 255) == list(range(19))
    assert list(CLASSES) == [name for _, _, name, _ in TRAINED]
    assert list(PALETTE) == [color for *_, color in TRAINED]


def test_each_label_is_of_its_published_category():
    """Compares the categories of all ids with cityscapesScripts' helpers/labels.py."""
    ranges = {
        "void": range(0, 7),
        "flat": range(7, 11),
        "construction": range(11, 17),
        "object": range(17, 21),
        "nature": range(21, 23),
        "sky": range(23, 24),
        "human": range(24, 26),
        "vehicle": range(26, 34),
    }
    assert {x.id: x.category for x in LABELS} == {
        id_: name for name, ids in ranges.items() for id_ in ids
    }
    assert CATEGORIES == {
        "flat": ("road", "sidewalk"),
        "construction": ("building", "wall", "fence"),
        "object": ("pole", "traffic light", "traffic sign"),
        "nature": ("vegetation", "terrain"),
        "sky": ("sky",),
        "human": ("person", "rider"),
        "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
    }


def test_humans_and_vehicles_have_instances_and_nothing_else():
    assert {x.id for x in LABELS if x.has_instances} == set(range(24, 34))
    assert CLASSES[11:] == INSTANCE_CLASSES


def test_cityscapes_ids_are_the_published_ones_and_255_and_gta5_has_the_licence_plate_besides():
    published = {id_: train_id for id_, train_id, *_ in TRAINED + VOID}
    assert {**published, 255: 255} == CITYSCAPES_IDS
    assert GTA5_IDS[34] == 255
    assert {id_: x for id_, x in GTA5_IDS.items() if id_ != 34} == CITYSCAPES_IDS
    assert 34 not in CITYSCAPES_IDS


def test_gta5_by_colour_differs_for_what_shares_a_colour():
    changed = {i: x for i, x in GTA5_IDS_BY_COLOR.items() if GTA5_IDS[i] != x}
    assert changed == {18: CLASSES.index("pole"), 34: CLASSES.index("car")}
    assert GTA5_IDS_BY_COLOR.keys() == GTA5_IDS.keys()


def test_lookup_table_gives_the_train_id_and_unknown_elsewhere():
    for ids in (CITYSCAPES_IDS, GTA5_IDS, CAMVID_IDS, {}, {255: 3}):
        table = lookup_table(ids)
        assert table.dtype == np.uint8, ids
        assert table.tolist() == [ids.get(i, 254) for i in range(256)], ids
        assert UNKNOWN == 254, ids
        assert 254 not in ids.values(), ids


def test_gta5_colours_are_the_published_ones():
    """Those of the classes, of what is ignored, and of static; car and licence plate share one, and
    so do pole and polegroup."""
    expected = {color: 255 for *_, color in VOID} | {(20, 20, 20): 255}
    expected |= {color: train_id for _, train_id, _, color in TRAINED}
    assert expected == GTA5_COLORS
    assert (GTA5_COLORS[0, 0, 142], GTA5_COLORS[153, 153, 153]) == (13, 5)


def test_camvid_has_its_classes_in_order_and_ignores_the_last_id():
    assert [CLASSES[CAMVID_IDS[i]] for i in range(11)] == list(CAMVID_CLASSES)
    assert CAMVID_IDS.keys() == set(range(12))
    assert CAMVID_IDS[11] == 255
