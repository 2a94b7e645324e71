"""Errors in one line: unknown names, the nearest known ones first, and what cannot be built."""

from urllib.error import URLError

import pytest

from ibnseg.support.errors import UserError, building, unknown_name

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


def test_whatever_a_constructor_raises_is_one_line_with_a_reason():
    for error, reason in (
        (RuntimeError("negative dimension -1\nby a layer"), "negative dimension -1"),
        (FileNotFoundError(2, "No such file", "x.npy"), "No such file: 'x.npy'"),
        (ZeroDivisionError("division by zero"), "division by zero"),
        (IndexError(), "raise error"),  # the line that raised it
    ):
        with pytest.raises(UserError) as caught, building("model"):
            raise error
        assert str(caught.value).startswith("model: cannot be built from the config (")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_says_already_what_is_wrong_passes():
    for error in (UserError("a line"), URLError("no network"), MemoryError()):
        with pytest.raises(type(error)) as caught, building("model"):
            raise error
        assert caught.value is error
