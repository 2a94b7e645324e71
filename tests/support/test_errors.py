"""Unknown names: the nearest known ones first, all of them if none is near."""

import pytest

from ibnseg.support.errors import UserError, unknown_name

KNOWN = ["gta5", "cityscapes", "camvid", "camvid_day", "camvid_dusk"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cityscape", "unknown domain 'cityscape'; did you mean cityscapes?"),
        ("gta", "unknown domain 'gta'; did you mean gta5?"),
        (
            "camvid_dus",
            "unknown domain 'camvid_dus'; did you mean camvid_dusk or camvid_day or camvid?",
        ),
        (
            "xyz",
            "unknown domain 'xyz'; known: camvid, camvid_day, camvid_dusk, cityscapes, gta5",
        ),
        ("", "unknown domain ''; known: camvid, camvid_day, camvid_dusk, cityscapes, gta5"),
    ],
)
def test_nearest_names_first(name, message):
    error = unknown_name("domain", name, KNOWN)
    assert isinstance(error, UserError)
    assert str(error) == message


def test_known_names_may_be_any_iterable():
    assert str(unknown_name("split", "vall", {"val": 1})) == (
        "unknown split 'vall'; did you mean val?"
    )
    assert (
        str(unknown_name("split", "xyz", (n for n in "ba"))) == "unknown split 'xyz'; known: a, b"
    )


def test_a_name_that_is_no_string():
    assert str(unknown_name("split", 3, ["train"])) == "unknown split '3'; known: train"
