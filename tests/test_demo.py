"""The demo: its summary of known numbers, and a run of it in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg import cli, demo
from ibnseg.report.gather import gather
from ibnseg.support.errors import UserError
from tests.conftest import save_run


def road(right: int) -> list[list[list[int]]]:
    """Two images of road, so many of a hundred pixels right."""
    return [[[right, 100 - right], [0, 0]]] * 2


def test_summary_says_what_was_measured(tmp_path: Path) -> None:
    """The summary has mIoU in the training domain, on real streets, and over unseen domains."""
    folders = []
    for name, virtual, real, fog in (("r", 40, 10, 20), ("a", 35, 20, 32)):
        tests = dict(streets_virtual=virtual, streets_real=real, streets_fog=fog)
        images = {domain: road(right) for domain, right in tests.items()}
        folders.append(save_run(tmp_path / name, images, name=name, train="streets_virtual"))
    (matrix,) = gather(folders, "road").matrices
    lines = demo.summary(
        matrix.blocks[0].rows, [column.domain for column in matrix.columns]
    ).splitlines()
    assert len(lines) == 3
    assert "R 40.0 to 10.0; A 35.0 to 20.0" in lines[0]
    assert "A has the highest mean, 26.0 (R 15.0)" in lines[1]
    assert "ibnseg train gta2city_ibn50a" in lines[2]


@pytest.mark.slow
def test_an_interrupted_demo_continues_to_its_table(
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
        kwargs["options"] = [*kwargs["options"], "workers=0"]  # which take long to begin and end
        return train(config, **kwargs)

    monkeypatch.setattr(demo.run, "train", interrupted)
    assert cli.main(["demo", "--quick"]) == 130
    assert "to continue: the same command again" in capsys.readouterr().err
    finished = tmp_path / "demo/runs/streets_r18/seed0/results.json"
    before = json.loads(finished.read_text())
    assert cli.main(["demo", "--quick"]) == 0
    out = capsys.readouterr().out
    assert json.loads(finished.read_text()) == before
    assert len(before["tests"]) == 6
    table = (tmp_path / "demo/table.md").read_text()
    for text in ("mIoU in percent, protocol native v1", "Paired differences of mIoU"):
        assert text in out
        assert text in table
    value = f"{100 * before['tests'][0]['mIoU']:.1f}"
    assert value in table
    assert value in out
    assert out.rstrip().splitlines()[-4].startswith("Results: demo/table.md, demo/streets_virtual")
    sheet = np.asarray(Image.open(tmp_path / "demo/streets_real.png"))
    assert sheet.shape[1] == 5 * 386 + 6
    with pytest.raises(UserError, match="holds streets with train 8, not 400"):
        demo.demo("demo")
