"""Reports as CSV and JSON: the numbers themselves."""

import csv
import io
import json

import pytest

from ibnseg.report.data import as_csv, as_json
from ibnseg.report.gather import gather
from tests.conftest import save_run
from tests.report.conftest import road


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_and_json_hold_the_same(report):
    found = report()
    content = json.loads(as_json(found))
    (matrix,) = content["matrices"]
    (block,) = matrix["blocks"]
    table = rows(as_csv(found))
    columns = [column["domain"] for column in matrix["columns"]]
    assert columns == ["gta5", "cityscapes"]
    expected = []
    for line in (*block["rows"], *block["differences"]):
        for test, cell in zip((*columns, ""), (*line["cells"], line["unseen"]), strict=True):
            expected.append((line["network"], line.get("minus", ""), test, cell))
    assert len(table) == len(expected) == 9
    for row, (network, minus, test, cell) in zip(table, expected, strict=True):
        assert (row["network"], row["minus"], row["test"]) == (network, minus, test)
        assert row["kind"] == ("cell" if test else "unseen")
        assert float(row["value"]) == cell["value"]
        assert float(row["sd"]) == cell["sd"]
        for kind in ("group", "image"):
            ends = [row[f"{kind}_low"], row[f"{kind}_high"]]
            assert [float(x) for x in ends if x] == (cell[f"by_{kind}"] or [])
        assert row["drop"] == ("" if cell["drop"] is None else repr(cell["drop"]))
        assert bool(int(row["best"])) == cell["best"]
        assert bool(int(row["grouped"])) == cell["grouped"] == (cell["by_group"] is not None)
        assert (row["n"], row["seeds"]) == ("2", "0 1")


def test_csv_gives_values_intervals_and_drops_of_each_test(report):
    home, away, unseen, *_ = rows(as_csv(report()))
    assert float(away["value"]) == pytest.approx(0.4)
    assert (away["images"], away["groups"], away["split"]) == ("4", "2", "val")
    assert (away["protocol"], away["version"], away["inference"]) == ("native", "1", "whole")
    assert float(away["drop"]) == pytest.approx(0.5)
    assert home["group_low"] == ""
    assert float(home["image_low"]) == float(home["image_high"]) == float(home["value"])
    assert float(away["group_low"]) < float(away["value"]) < float(away["group_high"])
    assert unseen["value"] == away["value"]
    assert (unseen["images"], unseen["drop"]) == ("", "")


def test_what_is_missing_is_null_and_not_a_row(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": road(9), "cityscapes": road(2, 4)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": road(9)}, name="b")
    found = gather([a, b], "road")
    (block,) = json.loads(as_json(found))["matrices"][0]["blocks"]
    assert block["rows"][1]["cells"][1] is None
    assert block["rows"][1]["unseen"] is None
    assert block["rows"][0]["cells"][0]["by_image"] is None
    assert block["differences"][0]["cells"][0]["value"] == 0
    assert len(rows(as_csv(found))) == 5


def test_published_numbers_are_given_as_values_and_as_printed(runs, published):
    found = gather(runs, published=True)
    printed = [row for row in rows(as_csv(found)) if row["kind"] == "published"]
    assert [(row["test"], row["value"], row["printed"]) for row in printed] == [
        ("cityscapes", "0.2895", "28.95"),
        ("gta5", "0.7", "70.0"),
        ("cityscapes", "0.301", "30.10"),
    ]
    assert printed[2]["protocol"] == "unknown"
    assert printed[0]["train"] == "gta5"
    assert printed[0]["source"] == "Paper, table 3"
    assert (printed[0]["network"], printed[0]["backbone"]) == ("Base", "R50")
    content = json.loads(as_json(found))
    (beside,) = content["matrices"][0]["published"]
    assert beside["values"]["cityscapes"] == {"value": 0.2895, "printed": "28.95"}
    (apart,) = content["published"]
    assert apart["recipe"] == "unknown"
    (two,) = [row for row in json.loads(as_json(gather([], published=True)))["published"]
              if row["method"] == "Two"]  # fmt: skip
    assert two["train"] == ["gta5", "synthia"]
