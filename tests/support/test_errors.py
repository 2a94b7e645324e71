"""Unknown names: the nearest known ones first, all of them if none is near."""

from ibnseg.support.errors import UserError, unknown_name

KNOWN = ["gta5", "cityscapes", "camvid", "camvid_day", "camvid_dusk"]


def test_an_unknown_name_is_answered_by_the_nearest_ones_or_by_all():
    every = "; known: camvid, camvid_day, camvid_dusk, cityscapes, gta5"
    for name, ending in (
        ("cityscape", "; did you mean cityscapes?"),
        ("gta", "; did you mean gta5?"),
        ("camvid_dus", "; did you mean camvid_dusk or camvid_day or camvid?"),
        ("xyz", every),
        ("", every),
    ):
        error = unknown_name("domain", name, KNOWN)
        assert isinstance(error, UserError)
        assert str(error) == f"unknown domain '{name}'{ending}"


def test_known_names_may_be_any_iterable():
    assert str(unknown_name("split", "vall", {"val": 1})).endswith("did you mean val?")
    assert str(unknown_name("split", "xyz", (n for n in "ba"))).endswith("known: a, b")


def test_an_unknown_name_may_be_a_number():
    assert str(unknown_name("split", 3, ["train"])) == "unknown split '3'; known: train"
