"""A metric of one's own, through ``ibnseg matrix``: with its module, and without."""

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from ibnseg import cli
from ibnseg.evaluation import metrics, results
from tests.conftest import save_run

MODULE = """
from ibnseg.evaluation.metrics import Metric, register

register(
    Metric(
        "missed_car",
        "cars missed",
        lambda confusion, averaged: confusion[..., 1, 0] / confusion[..., 1, :].sum(axis=-1),
        "this file",
        higher_is_better=False,
    )
)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was tested with the metric of a module that lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))
    monkeypatch.setattr(results, "METRICS", metrics.METRICS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_metric", raising=False)
    (tmp_path / "my_metric.py").write_text(MODULE)
    before = dict(metrics.METRICS)
    exec(MODULE, {})
    folder = save_run(tmp_path / "run", {"gta5": [[[5, 0], [1, 3]], [[5, 0], [3, 1]]]})
    metrics.METRICS.clear()
    metrics.METRICS.update(before)
    yield folder
    sys.modules.pop("my_metric", None)


def matrix(capsys, *words: str) -> str:
    assert cli.main(["matrix", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("way", ["--import", "IBNSEG_IMPORTS"])
def test_a_metric_of_ones_own_has_an_interval_if_its_module_is_imported(
    way, run, capsys, monkeypatch
):
    words = [str(run), "--metric", "missed_car", "--format", "csv"]
    if way == "--import":
        words += ["--import", "my_metric"]
    else:
        monkeypatch.setenv(way, "my_metric")
    (row,) = csv.DictReader(io.StringIO(matrix(capsys, *words)))
    assert float(row["value"]) == 0.5
    assert float(row["image_low"]) < 0.5 < float(row["image_high"])
    assert "cars missed in percent (lower is better)" in matrix(capsys, *words[:3])


def test_a_metric_of_ones_own_is_as_recorded_if_its_module_is_not_imported(run, capsys):
    text = matrix(capsys, str(run), "--metric", "missed_car")
    assert "cars missed in percent (lower is better)" in text
    assert " 50.0" in text
    assert "interval" not in text.split("Images:")[0]
    assert "missed_car: as recorded, without intervals" in text
    assert "give --import MODULE" in " ".join(text.split())  # notes are wrapped
    assert "my_metric" not in sys.modules


def test_modules_of_the_command_line_are_imported_beside_those_of_the_environment(
    run, capsys, monkeypatch
):
    others = ("first_import", "second_import")
    for name in others:
        Path(f"{name}.py").touch()
    monkeypatch.setenv("IBNSEG_IMPORTS", "my_metric")
    words = [word for name in others for word in ("--import", name)]
    matrix(capsys, str(run), "--metric", "missed_car", *words)
    assert {*others, "my_metric"} <= sys.modules.keys()
    for name in others:
        del sys.modules[name]


def test_a_module_that_is_not_there_is_named(run, capsys, monkeypatch):
    assert cli.main(["matrix", str(run), "--import", "not_there"]) == 1
    assert "--import: no module not_there" in capsys.readouterr().err
    monkeypatch.setenv("IBNSEG_IMPORTS", "nor_there")
    assert cli.main(["matrix", str(run)]) == 1
    assert "$IBNSEG_IMPORTS: no module nor_there" in capsys.readouterr().err


def test_a_metric_that_is_known_nowhere_is_refused_with_the_nearest_names(run, capsys):
    assert cli.main(["matrix", str(run), "--metric", "missed_cars"]) == 1
    assert "unknown metric 'missed_cars'; did you mean missed_car" in capsys.readouterr().err


def test_other_metrics_are_computed_from_the_same_results(run, capsys):
    """8 + 6 of 18 pixels; the F-scores of road and car are 20 / 24 and 8 / 12."""
    expected = dict(pixel_accuracy=14 / 18, f_score=(20 / 24 + 8 / 12) / 2, road=10 / 14)
    for name, value in expected.items():
        text = matrix(capsys, str(run), "--metric", name, "--format", "csv")
        (row,) = csv.DictReader(io.StringIO(text))
        assert (row["metric"], float(row["value"])) == (name, pytest.approx(value))
    assert np.isfinite(float(row["image_high"]))
