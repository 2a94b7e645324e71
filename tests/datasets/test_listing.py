"""``ibnseg classes`` on a terminal and in a pipe."""

import csv
import sys

import pytest

from ibnseg import cli
from ibnseg.datasets.class_tables import class_table_names, classes_of


@pytest.fixture
def printed(capsys):
    """Runs ``ibnseg classes`` and returns what it prints."""

    def run(*words: str) -> str:
        assert cli.main(["classes", *words]) == 0
        return capsys.readouterr().out

    return run


def test_without_a_dataset_all_are_listed_with_their_maps_and_sources(printed) -> None:
    text = printed()
    rows = {line.split()[0]: line for line in text.splitlines()[3:-1]}
    assert tuple(rows) == class_table_names()
    assert rows["mapillary"].split()[:4] == ["mapillary", "66", "cityscapes,", "openseg"]
    assert "AutoNUE/public-code" in rows["idd"]
    assert "\x1b" not in text


def test_the_classes_of_a_dataset_have_ids_colours_and_what_each_map_makes_of_them(printed) -> None:
    text = printed("gta5")
    rows = [line.split() for line in text.splitlines()]
    assert ["34", "license", "plate", "0", "0", "142", "vehicle", "13", "car"] in rows
    assert ["7", "road", "128", "64", "128", "flat", "0", "road", "0", "road"] in rows
    assert "shachoi/RobustNet:datasets/gtav.py" in text
    assert "\x1b" not in text
    rows = [line.split() for line in printed("cityscapes").splitlines()]
    assert ["24", "person", "220", "20", "60", "human", "yes", "11", "person"] in rows


def test_one_map_is_shown_alone(printed) -> None:
    rows = [line.split() for line in printed("mapillary", "--map", "openseg").splitlines()]
    assert ["7", "Bike", "Lane", "128", "64", "255", "construction--flat", "0", "road"] in rows
    rows = [line.split() for line in printed("mapillary", "--map", "cityscapes").splitlines()]
    assert ["7", "Bike", "Lane", "128", "64", "255", "construction--flat"] in rows


def test_labels_stored_as_rgb_are_listed_without_ids(printed) -> None:
    rows = [line.split() for line in printed("a2d2").splitlines()]
    assert ["Bicycle", "1", "182", "89", "6", "18", "bicycle"] in rows


def test_on_a_terminal_each_class_has_a_block_of_its_colour(printed, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[48;2;128;64;128m  \x1b[0m" in printed("cityscapes")


def test_csv_has_all_columns_or_one_map_by_name(printed) -> None:
    rows = list(csv.DictReader(printed("idd", "--format", "csv").splitlines()))
    assert len(rows) == 40
    assert rows[11] == {
        "id": "11",
        "name": "autorickshaw",
        "color": "#ffcc36",
        "category": "autorickshaw",
        "cityscapes": "",
        "dynalign": "car",
    }
    rows = list(csv.reader(printed("idd", "--map", "dynalign", "--format", "csv").splitlines()))
    assert rows[0] == ["name", "class"]
    assert ["autorickshaw", "car"] in rows
    assert len(rows) == 41
    assert [row[0] for row in rows[1:]] == list(classes_of("idd").names)


def test_unknown_names_and_options_without_a_dataset_are_one_line(capsys) -> None:
    for words, said in (
        (["mapilary"], "unknown table of classes 'mapilary'; did you mean mapillary"),
        (["gta5", "--map", "by_colour"], "unknown class map of gta5 'by_colour'; did you mean"),
        (["gta5", "--map", "x", "--format", "csv"], "unknown class map of gta5 'x'"),
        (["--map", "openseg"], "--map and --format are of one dataset"),
        (["--format", "csv"], "--map and --format are of one dataset"),
    ):
        assert cli.main(["classes", *words]) == 1
        error = capsys.readouterr().err
        assert said in error, words
        assert error.count("\n") == 1
