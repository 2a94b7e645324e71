"""The tables of classes against values typed from the datasets' own definitions and converters, and
damaged tables."""

from pathlib import Path

import pytest

from ibnseg.datasets.class_tables import (
    IGNORE,
    class_table_names,
    classes_of,
    common_classes,
    read_class_table,
)
from ibnseg.datasets.labels import CLASSES, SUBSETS
from ibnseg.support.errors import UserError

GOOD = """\
# title: Lanes
# source: me
# note: only an example
# map cityscapes to cityscapes: by hand
id,name,color,category,cityscapes
0,asphalt,#101112,ground,road
1,gravel,,ground,road
2,cow,#ffffff,animal,
"""


@pytest.fixture
def table(tmp_path: Path):
    """Reads a table that is given as text."""

    def read(text: str):
        path = tmp_path / "lanes.csv"
        path.write_text(text)
        return read_class_table(path)

    return read


def named(name: str, map_: str = "cityscapes") -> dict[str, set[str]]:
    """The classes that a map makes, each with the names of what becomes it."""
    found = {}
    for row in classes_of(name).rows:
        if row.becomes[map_]:
            found.setdefault(row.becomes[map_], set()).add(row.name)
    return found


@pytest.mark.parametrize("name", class_table_names())
def test_every_table_has_its_source_and_maps_its_ids_or_its_colours_to_train_ids(name: str) -> None:
    table = classes_of(name)
    assert table.title
    assert table.source
    assert table.maps
    for each in table.maps.values():
        assert each.source, each.name
        classes = table.targets(each.name)
        assert classes in (CLASSES, ("direct", "alternative", "background"))
        ids = table.ids(each.name) or table.colors(each.name)
        assert set(ids.values()) <= {*range(len(classes)), IGNORE}


def test_synthia_has_the_ids_of_the_public_converters() -> None:
    """lhoyer/DAFormer:tools/convert_datasets/synthia.py"""
    ids = [3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11]
    expected = {id_: train_id for train_id, id_ in enumerate(ids)}
    expected |= dict.fromkeys((0, 13, 14, 22), 255)
    assert classes_of("synthia").ids("cityscapes") == expected
    assert classes_of("synthia").rows[5].color == (64, 64, 128)


def test_means_over_synthia_leave_out_the_classes_that_it_lacks() -> None:
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18]
    assert [CLASSES.index(name) for name in SUBSETS["synthia16"]] == kept
    fewer = [0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18]
    assert [CLASSES.index(name) for name in SUBSETS["synthia13"]] == fewer


def test_idd_has_the_train_ids_of_its_devkit() -> None:
    """csTrainId in AutoNUE/public-code:helpers/anue_labels.py"""
    ids = {0: 0, 3: 1, 5: 9, 6: 11, 8: 12, 9: 17, 10: 18, 12: 13, 13: 14, 14: 15, 17: 16}
    ids |= {20: 3, 21: 4, 24: 7, 25: 6, 26: 5, 29: 2, 32: 8, 33: 10}
    assert classes_of("idd").ids("cityscapes") == {i: ids.get(i, 255) for i in range(40)}
    assert named("idd", "dynalign")["road"] == {
        "road",
        "parking",
        "drivable fallback",
        "rail track",
    }
    assert named("idd", "dynalign")["car"] == {"car", "autorickshaw"}


def test_a_class_of_idds_level_3_becomes_what_its_parts_become_unless_they_differ() -> None:
    """The parts of each class, by level3Id of AutoNUE/public-code:helpers/anue_labels.py"""
    rows = {row.id: row for row in classes_of("idd_level3").rows}
    assert rows.keys() == {*range(26), 255}
    assert rows[20].name == "pole + polegroup"
    assert rows[20].becomes == {"cityscapes": "pole"}
    assert rows[3].name == "rail track + non-drivable fallback"
    assert rows[3].becomes == {"cityscapes": ""}
    parts = {row.name: row.becomes["cityscapes"] for row in classes_of("idd").rows}
    for row in rows.values():
        if row.becomes["cityscapes"]:
            theirs = {parts[name] for name in row.name.split(" + ")} - {""}
            assert theirs == {row.becomes["cityscapes"]}, row.name


def test_wilddash2_has_the_official_map_and_the_one_that_knows_only_34_ids() -> None:
    """wd2_unified_label_policy.json, and brdav/cma:data_modules/datasets/acg.py"""
    table = classes_of("wilddash2")
    more = {34: 14, 35: 13, 38: 0, 41: 0, 43: 0, 45: 5, 46: 5, 47: 12, 48: 12, 49: 12, 52: 1}
    more |= {56: 3, 58: 17, 61: 0, 64: 0, 65: 1, 70: 0, 74: 0, 75: 0, 76: 0, 77: 1, 78: 9}
    more |= {79: 0, 80: 1}
    first = classes_of("cityscapes").ids("cityscapes")
    expected = {i: first[i] if i < 34 else more.get(i, 255) for i in range(81)}
    assert table.ids("cityscapes") == expected
    assert table.ids("first34") == {i: x if i < 34 else 255 for i, x in expected.items()}
    assert [row.color for row in table.rows if row.name == "pickup"] == [(40, 0, 100)]


def test_viper_ignores_vans_or_makes_them_cars() -> None:
    """SimarKareer/UnifiedVideoDA:tools/convert_datasets/viper.py"""
    ids = {3: 0, 4: 1, 9: 2, 11: 4, 13: 6, 14: 7, 7: 8, 8: 8, 6: 9, 2: 10, 20: 11}
    ids |= {24: 13, 27: 14, 26: 15, 29: 16, 23: 17, 22: 18}
    table = classes_of("viper")
    assert table.ids("cityscapes") == {i: ids.get(i, 255) for i in range(32)}
    assert table.ids("vans_are_cars") == {i: {**ids, 25: 13}.get(i, 255) for i in range(32)}


def test_urbansyn_has_train_ids_and_19_for_what_is_unlabelled() -> None:
    assert classes_of("urbansyn").ids("cityscapes") == {**{i: i for i in range(19)}, 19: 255}


def test_both_maps_of_mapillary_mean_the_same_in_version_2() -> None:
    """The classes of the older version that the newer one splits are all mapped alike."""
    assert named("mapillary2")["traffic light"] == {
        "Traffic Light - General (Single)",
        "Traffic Light - Pedestrians",
        "Traffic Light - General (Upright)",
        "Traffic Light - General (Horizontal)",
        "Traffic Light - Cyclists",
        "Traffic Light - Other",
    }
    for map_ in ("cityscapes", "openseg"):
        older, newer = named("mapillary", map_), named("mapillary2", map_)
        assert older.keys() == newer.keys() == set(CLASSES)
        split = ("road", "traffic light", "traffic sign")
        for name in set(CLASSES) - set(split):
            same = {x for x in older[name] if x in newer[name]}
            assert older[name] == same, (map_, name)
    assert "Manhole" in named("mapillary2")["road"]
    assert "Manhole" not in named("mapillary2", "openseg")["road"]
    assert "Lane Marking - Crosswalk" in named("mapillary2", "openseg")["road"]
    assert "Signage - Back" not in named("mapillary2", "openseg")["traffic sign"]


def test_labels_stored_as_rgb_have_colours_and_no_ids() -> None:
    for name, count in (("a2d2", 55), ("camvid32", 32)):
        table = classes_of(name)
        assert table.ids("cityscapes") == {}
        assert len(table.colors("cityscapes")) == len(table.rows) == count
    a2d2, camvid = (classes_of(name).colors("cityscapes") for name in ("a2d2", "camvid32"))
    assert a2d2[0xFF, 0x00, 0xFF] == CLASSES.index("road")  # RD normal street
    assert a2d2[0xB6, 0x59, 0x06] == CLASSES.index("bicycle")
    assert a2d2[0x48, 0xD1, 0xCC] == IGNORE  # ego car
    assert camvid[64, 128, 192] == CLASSES.index("car")  # SUVPickupTruck
    assert camvid[192, 128, 192] == IGNORE  # Truck_Bus
    assert camvid[192, 0, 192] == CLASSES.index("motorcycle")


def test_datasets_that_use_the_ids_of_another_have_its_classes_and_their_own_title() -> None:
    kitti, cityscapes = classes_of("kitti"), classes_of("cityscapes")
    assert kitti.rows == cityscapes.rows
    assert kitti.ids("cityscapes") == cityscapes.ids("cityscapes")
    assert kitti.targets("cityscapes") == CLASSES
    assert kitti.title.startswith("KITTI")


def test_common_classes_are_found_by_name_however_it_is_written() -> None:
    ours = ("Traffic Light", "road-marking", "Sky", "boat")
    theirs = ("trafficlight", "sky", "road", "Road Marking")
    assert common_classes(ours, theirs) == {
        "Traffic Light": "trafficlight",
        "road-marking": "Road Marking",
        "Sky": "sky",
    }
    assert common_classes(ours, ()) == {}


def test_a_table_gives_ids_names_and_colours(table) -> None:
    lanes = table(GOOD)
    assert lanes.names == ("asphalt", "gravel", "cow")
    assert lanes.ids("cityscapes") == {0: 0, 1: 0, 2: 255}
    assert lanes.colors("cityscapes") == {(16, 17, 18): 0, (255, 255, 255): 255}
    assert lanes.notes == ("only an example",)
    assert lanes.maps["cityscapes"].source == "by hand"
    assert [row.has_instances for row in lanes.rows] == [False] * 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0,asphalt", "256,asphalt", "line 6: the id is '256', expected 0 to 255"),
        ("0,asphalt", "-1,asphalt", "line 6: the id is '-1'"),
        ("0,asphalt", "one,asphalt", "line 6: the id is 'one'"),
        ("1,gravel", "0,gravel", "line 7: 0 is on line 6 already"),
        ("gravel", "asphalt", "line 7: 'asphalt' is on line 6 already"),
        ("1,gravel", ",gravel", "line 7: has neither id nor color"),
        ("cow", "", "line 8: has no name"),
        ("#ffffff", "#FFFFFF", "line 8: the color is '#FFFFFF', expected #rrggbb"),
        ("#ffffff", "white", "line 8: the color is 'white'"),
        ("animal,", "animal,,", "line 8: has 6 values, expected 5"),
        ("gravel,,ground,road", "gravel,,ground", "line 7: has 4 values, expected 5"),
        ("gravel,,ground,road", "gravel,,ground,raod", "'gravel': unknown class of cityscapes"),
        ("category,cityscapes", "category,other", "line 5: has the columns id,name"),
        ("to cityscapes", "to cityscape", "unknown table of classes 'cityscape'; did you mean"),
        ("# title: Lanes", "# titel: Lanes", "line 1: 'titel' is not a key"),
        ("# title: Lanes\n", "", "has no line '# title: ...'"),
        ("# source: me", "# me", "line 2: expected '# KEY: TEXT'"),
        ("# note: only", "# same as: cityscapes\n# note: only", "line 6: has classes of its own"),
    ],
)
def test_damaged_tables_are_refused_with_the_line(table, old: str, new: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        table(GOOD.replace(old, new, 1))
    assert words in str(caught.value)


def test_a_table_without_classes_is_refused(table, tmp_path: Path) -> None:
    for lines in (4, 5):
        with pytest.raises(UserError, match="lists no classes"):
            table("\n".join(GOOD.splitlines()[:lines]))
    (tmp_path / "bytes.csv").write_bytes(b"# title: \xff")
    for name in ("bytes.csv", "absent.csv"):
        with pytest.raises(UserError, match=name):
            read_class_table(tmp_path / name)


def test_unknown_tables_and_maps_are_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"table of classes 'mapilary'; did you mean mapillary"):
        classes_of("mapilary")
    with pytest.raises(UserError, match=r"class map of gta5 'by_colour'; did you mean by_color"):
        classes_of("gta5").ids("by_colour")


def test_a_map_that_colours_cannot_tell_apart_is_refused_for_colours() -> None:
    """Pole and pole group share a colour, and only the pole is one of the 19."""
    with pytest.raises(UserError, match=r"'pole' and 'polegroup' share one"):
        classes_of("gta5").colors("cityscapes")
