"""``ibnseg runs``: the state and the scores of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg import cli
from ibnseg.support.files import alone_in
from tests.conftest import save_run


def make_run(folder: Path, steps: int | None, total: int = 60) -> Path:
    """A run with a checkpoint of some step."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.py").write_text(f"train_cfg = dict(max_iters={total})\nwork_dir = 'x'\n")
    if steps is not None:
        (folder / f"checkpoints/iter_{steps}.pth").touch()
        (folder / "latest.pth").symlink_to(f"checkpoints/iter_{steps}.pth")
    return folder


def listed(folder: Path, capsys: pytest.CaptureFixture) -> dict[str, str]:
    assert cli.main(["runs", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {Path(line.split()[0]).name: " ".join(line.split()[1:]) for line in lines}


def test_every_run_is_listed_with_its_state_and_scores(tmp_path: Path, capsys) -> None:
    done = make_run(tmp_path / "done", 60)
    save_run(done, {"gta5": [[[5, 5], [0, 10]]], "camvid": [[[0, 0], [0, 0]]]})
    rein = dict(name="rein", version=1, inference="whole")
    save_run(done, {"cityscapes": [[[10, 0], [0, 10]]]}, protocol=rein)
    (make_run(tmp_path / "torn", 60) / "results.json").write_text("{")
    make_run(tmp_path / "sub/half", 40)
    make_run(tmp_path / "sub/untested", 60)
    make_run(tmp_path / "empty", None)
    make_run(tmp_path / ".hidden", 60)
    gone = make_run(tmp_path / "gone", 60)
    (gone / "checkpoints/iter_60.pth").unlink()
    cut = make_run(tmp_path / "cut", 60)
    (cut / "config.py").write_text("train_cfg = dict(max_it")
    now = make_run(tmp_path / "now", 20)
    with alone_in(now, "is being trained"):
        found = listed(tmp_path, capsys)
    assert found == {
        "done": "finished mIoU gta5 58.3, camvid -, cityscapes (rein) 100.0",
        "torn": "damaged (results.json cannot be read)",
        "half": "interrupted at step 40 of 60",
        "untested": "trained 60 steps, not tested",
        "empty": "empty (no checkpoint)",
        "gone": "damaged (its latest checkpoint is missing)",
        "cut": "damaged (config.py cannot be read)",
        "now": "training now, from step 20 of 60 on",
    }


def test_a_finished_run_is_listed_with_the_scores_of_its_results(trained, capsys) -> None:
    (found,) = listed(trained[1], capsys).values()
    tests = {test["domain"]: 100 * test["mIoU"] for test in trained[2]["tests"]}
    assert found == f"finished mIoU {', '.join(f'{d} {s:.1f}' for d, s in tests.items())}"


def test_listing_executes_no_config(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run", 60)
    (run / "config.py").write_text(f"import os\nos.mkdir('{tmp_path / 'made'}')\n")
    assert listed(tmp_path, capsys) == {"run": "damaged (config.py cannot be read)"}
    assert not (tmp_path / "made").exists()


def test_a_folder_without_runs_is_an_error(tmp_path: Path, capsys) -> None:
    for folder, message in ((tmp_path, "no runs in it"), (tmp_path / "x", "no such folder")):
        assert cli.main(["runs", str(folder)]) == 1
        assert message in capsys.readouterr().err
