"""Finding configs and runs by their path or name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ibnseg.support.configs import find_config, read_config, require_network, require_run
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_configs_go_by_path_and_by_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_config("streets_r18") == config_folder() / "streets_r18.py"
    for name in ("lab/mine", "lab/streets_r18", "configs/streets_r18"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / f"{name}.py").touch()
    monkeypatch.setenv("IBNSEG_CONFIGS", str(here / "lab"))
    assert find_config("mine") == here / "lab/mine.py"
    assert find_config("streets_r18") == Path("configs/streets_r18.py")
    assert find_config("lab/mine.py") == Path("lab/mine.py")


def test_a_base_lies_beside_the_file_or_in_a_config_folder(here: Path, monkeypatch) -> None:
    """A file beside the config wins, then ``$IBNSEG_CONFIGS``, then the package; a base of a base
    is found in the same way."""
    for name, text in {
        "lab/_base_/models/mine.py": "_base_ = 'fcn_r18-d8.py'\nmodel_title = 'Mine'",
        "lab/_base_/models/other.py": "model_title = 'lab'",
        "own/_base_/models/other.py": "model_title = 'own'",
        "own/a.py": "_base_ = ['_base_/models/mine.py', '_base_/schedules/paper_80e.py']",
        "own/b.py": "_base_ = '_base_/models/other.py'",
        "own/c.py": "_base_ = 'streets_r18.py'",
        "own/d.py": "_base_ = '_base_/models/missing.py'",
    }.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    monkeypatch.setenv("IBNSEG_CONFIGS", "lab")
    cfg = read_config("own/a.py")
    assert (cfg.model_title, cfg.model.backbone.depth, cfg.epochs) == ("Mine", 18, 80)
    assert read_config("own/b.py").model_title == "own"
    assert read_config("own/c.py").train_domain == "streets_virtual"
    with pytest.raises(FileNotFoundError, match="own/_base_/models/missing.py"):
        read_config("own/d.py")


def test_a_config_that_does_not_exist_is_refused_with_the_nearest(here: Path) -> None:
    (here / "configs").mkdir()
    (here / "configs/mine.py").touch()
    for config, nearest in (
        ("streets_r81", "did you mean streets_r18"),
        ("no/such.py", "no such config; none nearby has a similar name$"),
        ("no/streets_r81.py", "no such config; did you mean streets_r18"),
        ("configs/mines.py", "did you mean configs/mine.py"),
        ("configs/myne.py", "did you mean configs/mine.py"),
    ):
        with pytest.raises(UserError, match=f"{config}.*{nearest}"):
            find_config(config)


def test_a_config_that_is_no_regular_file_is_refused(here: Path) -> None:
    os.mkfifo("pipe.py")
    for path, kind in (("pipe.py", "a named pipe"), ("/dev/zero", "a device")):
        with pytest.raises(UserError, match=f"^{path}: is {kind}, expected a file$"):
            find_config(path)


def test_runs_are_known_by_their_config(here: Path) -> None:
    with pytest.raises(UserError, match=r"run is not a run folder \(no such folder\)$"):
        require_run("run")
    (here / "run").mkdir()
    with pytest.raises(UserError, match=r"run is not a run folder \(no config.py\)"):
        require_network("run", None)
    (here / "run/predictions.json").touch()
    with pytest.raises(UserError, match=r"; predictions:run names the label maps in it$"):
        require_run("run")
    (here / "run/config.py").touch()
    require_network("run", None)


def test_a_mistyped_run_folder_is_called_that_with_the_nearest_one(here: Path) -> None:
    (here / "work_dirs/night/seed0").mkdir(parents=True)
    for wrong, near in (
        ("work_dirs/nihgt/seed0", "work_dirs/night/seed0"),
        ("workdirs/night", "work_dirs/night"),
        (str(here / "work_dirs/night/seed1"), str(here / "work_dirs/night/seed0")),
    ):
        for check in (require_run, lambda folder: require_network(folder, None)):
            with pytest.raises(UserError) as error:
                check(wrong)
            assert str(error.value) == (
                f"{wrong} is not a run folder (no such folder; nearest: {near})"
            )
    with pytest.raises(UserError, match=r"^zzz is not a run folder \(no such folder\)$"):
        require_network("zzz", None)
    with pytest.raises(UserError, match=r"such folder\) nor a config; did you mean streets_r18"):
        require_network("streets_r81", None)
    (here / "notes").touch()
    with pytest.raises(UserError, match=r"notes is not a run folder \(it is a file\)"):
        require_run("notes")


def test_a_config_needs_a_checkpoint(here: Path) -> None:
    with pytest.raises(UserError, match="streets_r18: a config needs a checkpoint"):
        require_network("streets_r18", None)
    require_network("streets_r18", "x.pth")
