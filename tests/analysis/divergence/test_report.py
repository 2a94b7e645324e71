"""Tables and files of divergence: numbers by hand, what is missing, notes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ibnseg.analysis.divergence.formula import LayerDivergence
from ibnseg.analysis.divergence.report import (
    Measured,
    divergence_sheets,
    networks,
    write_divergence,
)
from ibnseg.report.sheet import Sheet


def measured(name: str, seed: int, **values: float | None) -> Measured:
    """A run with these divergences by layer, the same in every replicate; None: all constant."""
    layers = [
        LayerDivergence(
            layer,
            channels=4,
            divergence=0.0 if value is None else value,
            constant=((0, 1, 2, 3), (3,)) if value is None else ((), ()),
            varying=value,
            images=20,
            replicates=np.full(100, 0.0 if value is None else value),
        )
        for layer, value in values.items()
    ]
    run = dict(name=name, model=name, title=name.upper(), train_domain="gta5", seed=seed)
    return Measured(run, layers)


def result(*runs: Measured) -> dict:
    return dict(
        title="A | B",
        sets=[dict(images=20), dict(images=30)],
        confidence=0.95,
        epsilon=1e-8,
        networks=networks(runs, {}),
    )


TWO = (
    measured("a", 0, stem=1.0, block=None),
    measured("a", 1, stem=7.0, block=None),
    measured("b", 1, stem=1.0, block=2.0, more=3.0),
)


def test_a_network_has_the_mean_over_its_seeds_and_its_ratio_to_the_first() -> None:
    a, b = result(*TWO)["networks"]
    assert (a["name"], a["seeds"], b["name"], b["seeds"]) == ("A", [0, 1], "B", [1])
    stem, block = a["layers"]
    assert stem["divergence"] == pytest.approx(3)  # sqrt(2 * 8) - 1
    assert stem["varying"] == pytest.approx(3)
    assert (stem["ratio"], stem["ratio_interval"]) == (None, None)
    assert (block["constant"], block["varying"]) == ([8, 2], None)
    stem, block, more = b["layers"]
    assert stem["ratio"] == pytest.approx(2 / 8)  # of seed 1, which both have
    assert stem["ratio_interval"] == pytest.approx((2 / 8, 2 / 8))
    assert block["ratio"] == pytest.approx(3)
    assert more["ratio"] is None  # the first network has no such layer


def cells(sheet: Sheet) -> list[tuple[str, ...]]:
    return [line for part in sheet.parts for row in part for line in row]


def test_tables_show_divergences_and_of_several_networks_their_ratios() -> None:
    assert len(divergence_sheets(result(TWO[2]))) == 1
    one, two = divergence_sheets(result(*TWO))
    assert one.title == "A | B, 20 and 30 images"
    assert one.head == ("layer", "A", "B")
    stem, block, more = cells(one)
    assert stem[0] == "stem"
    assert stem[1].startswith("3 [0, ")
    assert stem[2] == "1 [1, 1]"
    assert block == ("block", "0 [0, 0]", "2 [2, 2]")
    assert more == ("more", "-", "3 [3, 3]")
    method, seeds, constant = one.notes
    assert "95 % intervals" in method
    assert "A 0, 1; B 1" in seeds
    assert constant.startswith("A, block: 8 and 2 of 8 channels are constant")
    assert two.head == ("layer", "B")
    assert cells(two) == [("stem", "0.25 [0.25, 0.25]"), ("block", "3 [3, 3]"), ("more", "-")]


def test_the_files_say_what_the_result_says(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content = result(*TWO)
    write_divergence(tmp_path, content)
    assert json.loads((tmp_path / "divergence.json").read_text())["networks"][1]["seeds"] == [1]
    page = (tmp_path / "divergence.md").read_text()
    assert page.startswith("**A \\| B, 20 and 30 images**\n\n| layer ")
    assert page.count("| stem ") == 2
    printed = capsys.readouterr().out
    assert "A | B, 20 and 30 images\n" in printed
    assert "0.25 [0.25, 0.25]" in printed
    with (tmp_path / "divergence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["seeds"], row["layer"]) for row in rows] == [
        *(("A", "0 1", "stem"), ("A", "0 1", "block")),
        *(("B", "1", "stem"), ("B", "1", "block"), ("B", "1", "more")),
    ]
    assert [row["constant_a"] for row in rows] == ["0", "8", "0", "0", "0"]
    assert [row["varying"] for row in rows[1:3]] == ["", "1.0"]
    assert float(rows[2]["ratio_low"]) == pytest.approx(0.25)
    assert (tmp_path / "divergence.svg").is_file()
