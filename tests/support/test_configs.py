"""Finding configs and runs by their path or name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg.support.configs import find_config, require_network, require_run
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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("streets_r81", "unknown config 'streets_r81'; did you mean streets_r18"),
        ("no/such.py", "no/such.py: no such config; these go by name: .*streets_r18"),
    ],
)
def test_a_config_that_is_not_there(config: str, message: str, here: Path) -> None:
    with pytest.raises(UserError, match=message):
        find_config(config)


def test_runs_are_known_by_their_config(here: Path) -> None:
    with pytest.raises(UserError, match="run: no such folder; expected the folder of a run"):
        require_run("run")
    (here / "run").mkdir()
    with pytest.raises(UserError, match=r"run is not a run folder \(no config.py\)"):
        require_network("run", None)
    (here / "run/config.py").touch()
    require_network("run", None)


def test_a_config_needs_a_checkpoint(here: Path) -> None:
    with pytest.raises(UserError, match="streets_r18: a config needs a checkpoint"):
        require_network("streets_r18", None)
    require_network("streets_r18", "x.pth")
