"""No cell of a CSV file is a formula."""

import csv
import io
from decimal import Decimal

import pytest

from ibnseg.report.cells import harmless, harmless_record, harmless_row
from ibnseg.report.data import as_csv, as_json
from ibnseg.report.gather import gather
from ibnseg.report.tables import run_csv
from tests.conftest import save_run
from tests.report.conftest import road
from tests.report.test_tables import case, content


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "=cmd|' /C calc'!A0", "+1;2", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1",
        "\uff1d1", "-", "+", "- a", "-\N{BOX DRAWINGS LIGHT HORIZONTAL}", "=1\x1b[2J",
    ],
)  # fmt: skip
def test_formulas_become_texts(text):
    assert harmless(text).startswith("'")
    assert "\x1b" not in harmless(text)


@pytest.mark.parametrize(
    "cell",
    [-1, -0.25, Decimal("-3.50"), None, True, "-1.5", "-1e-3", "+0.5", "-inf", "a=b", "IBN-a", ""],
)
def test_numbers_and_plain_texts_stay(cell):
    assert harmless(cell) == cell
    assert type(harmless(cell)) is type(cell)


def test_rows_are_made_harmless_cell_by_cell():
    assert harmless_row(["=a", -1, "b"]) == ["'=a", -1, "b"]
    assert harmless_record({"x": "@a", "y": -0.5}) == {"x": "'@a", "y": -0.5}


def test_the_csv_of_runs_has_no_formula_and_negative_numbers(tmp_path):
    runs = [
        save_run(tmp_path / name, {"gta5": road(*right)}, name=f"={name}", title=f"@{name}\x1b[2J")
        for name, right in (("a", (8, 9)), ("b", (4, 5)))
    ]
    report = gather(runs, "road")
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert {row["network"] for row in rows} == {r"'@a\x1b[2J", r"'@b\x1b[2J"}
    assert {row["config"] for row in rows} == {"'=a", "'=b"}
    assert any(float(row["value"]) < 0 for row in rows if row["minus"])
    assert "\x1b" not in as_json(report)
    run = content(case("gta5", 0.25), case("+far", 0.75))
    rows = list(csv.DictReader(io.StringIO(run_csv(run))))
    assert [row["test"] for row in rows] == ["gta5", "'+far"]
    assert float(rows[1]["drop"]) == -0.5
