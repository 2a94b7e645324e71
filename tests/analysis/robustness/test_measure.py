"""``ibnseg robustness``: its files, and wrong input."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ibnseg import cli
from ibnseg.analysis.robustness import report
from ibnseg.analysis.robustness.measure import measure_robustness
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in
from tests.analysis.robustness.conftest import record


def test_wrong_runs_and_options_are_refused(trained, roots, tmp_path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        measure_robustness([trained[0]], out=tmp_path / "out")
    with pytest.raises(UserError, match="both are trained with seed 0; give one of them"):
        measure_robustness([trained[1]] * 2, ["gta5"], tmp_path / "out", roots=roots)
    with pytest.raises(UserError, match="unknown domain 'gta6'"):
        measure_robustness([trained[1]], ["gta6"], tmp_path / "out", roots=roots)
    for protocol in ("nativ", "all"):
        given = dict(roots=roots, protocol=protocol)
        with pytest.raises(UserError, match="unknown protocol"):
            measure_robustness([trained[1]], ["gta5"], tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
    other = pytest.raises(UserError, match="is being measured by another process")
    with alone_in(tmp_path, "is being measured"), other:
        measure_robustness([trained[1]], ["gta5"], tmp_path, roots=roots, conditions=["R+50"])


def test_the_files_say_what_the_result_says(measured) -> None:
    out, result = measured
    assert json.loads((out / "robustness.json").read_text())["protocol"]["name"] == "native"
    with (out / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 7
    assert list(rows[0]) == list(report.COLUMNS)
    blur = next(r for r in rows if r["appearance"] == "blur" and r["severity"] == "5")
    assert float(blur["mIoU"]) == record(result, "gta5", "blur", 5)["mIoU"]
    assert (blur["parameter"], blur["parameter_is"]) == ("4.5", "sigma (pixels)")
    assert (out / "robustness.svg").read_text().startswith("<?xml")
    for name in ("robustness.png", "conditions.png"):
        with Image.open(out / name) as image:
            assert image.width > 500
            assert np.asarray(image.convert("L")).std() > 5


def test_the_command_shows_what_was_asked_for(trained, roots, tmp_path, capsys) -> None:
    given = ",".join(f"{name}={path}" for name, path in roots.items())
    line = [
        "robustness", str(trained[1]), "--domains", "gta5", "--out", str(tmp_path / "out"),
        "--conditions", "R+50,jpeg", "--severities", "2", "--data-root", given,
    ]  # fmt: skip
    assert cli.main(line) == 0
    printed = capsys.readouterr().out
    assert "mIoU in percent on GTA5, protocol native" in printed
    assert "R+50" in printed
    assert "jpeg" in printed
    assert "blur" not in printed
    assert (tmp_path / "out" / "conditions.png").is_file()
