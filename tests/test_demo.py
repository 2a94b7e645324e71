"""The demo: its table and its words from numbers known, and the whole of it in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg import cli, demo
from ibnseg.errors import UserError

TITLES = {"streets_virtual": "Virtual", "streets_real": "Real"}


def results(title: str, virtual: float, real: float) -> dict:
    """A run's results, with tests under another protocol and of another checkpoint among them."""
    scores = dict(streets_virtual=virtual, streets_real=real)
    kinds = (
        ("native", "x", scores),
        ("paper", "x", dict(streets_real=0.9)),
        ("native", "y", scores),
    )
    tests = [
        dict(domain=name, mIoU=score, protocol=dict(name=protocol), checkpoint_sha256=checkpoint)
        for protocol, checkpoint, measured in kinds
        for name, score in measured.items()
    ]
    return dict(run=dict(title=title, checkpoint_sha256="x"), tests=tests)


def test_table_of_one_seed() -> None:
    measured = {"r": [results("R", 0.4, 0.1)], "a": [results("A", 0.35, 0.2)]}
    assert demo.describe(measured, TITLES).splitlines() == [
        "| mIoU | Virtual | Real |",
        "| ---- | ------: | ---: |",
        "| R    |    40.0 | 10.0 |",
        "| A    |    35.0 | 20.0 |",
    ]


def test_paired_differences_of_two_seeds() -> None:
    """Differences of 10 and 12 points: 11, give or take t(1) = 12.706 times their standard error
    of 1."""
    measured = {
        "r": [results("R", 0.4, 0.1), results("R", 0.42, 0.14)],
        "a": [results("A", 0.4, 0.2), results("A", 0.42, 0.26)],
    }
    text = demo.describe(measured, TITLES).splitlines()
    assert text[3] == "| A    | 41.0 ± 1.4 | 23.0 ± 4.2 |"
    assert text[-1] == "| A minus R         | +0.0 ± 0.0 | +11.0 ± 12.7 |"


def test_summary_says_what_was_measured() -> None:
    measured = {"r": [results("R", 0.4, 0.1)], "a": [results("A", 0.35, 0.2)]}
    lines = demo.summary(measured).splitlines()
    assert len(lines) == 3
    assert "R 40.0 to 10.0; A 35.0 to 20.0" in lines[0]
    assert "A has the highest mean, 20.0 (R 10.0)" in lines[1]
    assert "ibnseg train gta2city_ibn50a" in lines[2]


@pytest.mark.slow
def test_in_miniature_interrupted_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Stopped in the third training, it says how to go on; called again, it does what is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "QUICK", demo.Scale(8, 2, 2))
    train, begun = demo.run.train, []

    def interrupted(config: str, **kwargs) -> dict:
        begun.append(config)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train(config, **kwargs)

    monkeypatch.setattr(demo.run, "train", interrupted)
    assert cli.main(["demo", "--quick"]) == 130
    assert "to go on: the same command again" in capsys.readouterr().err
    finished = tmp_path / "demo/runs/streets_r18/seed0/results.json"
    before = json.loads(finished.read_text())
    assert cli.main(["demo", "--quick"]) == 0
    out = capsys.readouterr().out
    assert json.loads(finished.read_text()) == before
    assert len(before["tests"]) == 6
    table = (tmp_path / "demo/table.md").read_text()
    assert table in out
    assert f"{100 * before['tests'][0]['mIoU']:.1f}" in table
    assert out.rstrip().splitlines()[-4].startswith("Results: demo/table.md, demo/streets_virtual")
    sheet = np.asarray(Image.open(tmp_path / "demo/streets_real.png"))
    assert sheet.shape[1] == 5 * 386 + 6
    with pytest.raises(UserError, match="its streets have train 8, not 400"):
        demo.demo("demo")
