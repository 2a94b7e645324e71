"""A run's folder, read as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError


def begun(folder: Path, text: str = "batch = 1\nwork_dir = 'x'\n") -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.py").write_text(text)
    return folder


def test_a_folder_without_config_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder \(no config.py\)"):
        Run.open(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        Run.open(tmp_path / "none")
    begun(tmp_path / "seed3")
    with pytest.raises(UserError, match="it holds the runs seed3: give one of these"):
        Run.open(tmp_path)


def test_a_checkpoints_run_is_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    run = Run.open(begun(tmp_path / "run"))
    for name in ("latest.pth", "checkpoints/iter_3.pth"):
        assert Run.of_checkpoint(run.folder / name) == run
    assert Run.of_checkpoint(tmp_path / "alone.pth") is None


def test_the_tested_checkpoint_is_the_best_if_the_run_selects(tmp_path: Path) -> None:
    assert Run(begun(tmp_path / "a")).tested.name == "latest.pth"
    text = "save_best = True\nwork_dir = 'x'\n"
    assert Run(begun(tmp_path / "b", text)).tested.name == "best.pth"


def test_a_run_is_begun_even_if_its_checkpoint_is_gone(tmp_path: Path) -> None:
    run = Run(begun(tmp_path / "run"))
    assert not run.is_begun
    run.latest.symlink_to("checkpoints/gone.pth")
    assert run.is_begun


def test_a_cut_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="config.py is cut off, its last keys are missing"):
        _ = Run(begun(tmp_path / "run", "batch = 1\n")).config


def test_a_run_whose_config_cannot_be_read_has_no_recipe(tmp_path: Path) -> None:
    for i, text in enumerate(("batch = (", "batch = open('x')\n", "batch = 1\n")):
        run = Run(begun(tmp_path / f"run{i}", text))
        assert run.recipe is None, text
        assert run.results is None, text
