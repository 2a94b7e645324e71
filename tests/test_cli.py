"""The command line: arguments, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ibnseg import cli
from ibnseg.errors import UserError

ROOT = Path(__file__).parents[1]


def test_arguments_reach_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    from ibnseg.engine import run

    calls = {}
    monkeypatch.setattr(run, "train", lambda *args, **kwargs: calls.update(train=(args, kwargs)))
    monkeypatch.setattr(run, "test", lambda *args, **kwargs: calls.update(test=(args, kwargs)))
    line = "train x --data-root gta5=/a,cityscapes=/b --data-root camvid=/c=d --domains a,b"
    assert cli.main([*line.split(), "--protocol", "paper", "--seed", "3", "--resume"]) == 0
    assert calls["train"] == (
        ("x",),
        dict(
            options=[],
            roots={"gta5": "/a", "cityscapes": "/b", "camvid": "/c=d"},
            domains=["a", "b"],
            protocols=["paper"],
            work_dir=None,
            seed=3,
            resume=True,
        ),
    )
    assert cli.main(["test", "x", "y.pth", "--cfg-options", "a=1", "b.c=2"]) == 0
    (args, kwargs) = calls["test"]
    assert args == ("x", "y.pth")
    assert kwargs["options"] == ["a=1", "b.c=2"]


def test_wrong_input_is_one_line_and_exit_1(in_data: Path, capsys) -> None:
    assert cli.main(["train", "gta2city_ibn50"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("ibnseg: error: unknown config 'gta2city_ibn50'; did you mean")


def test_errors_of_loader_workers_are_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A worker's error arrives with its traceback in the message; the last line tells it."""

    def fail(args: object) -> None:
        raise UserError(
            "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent "
            "call last):\n  File ...\nibnseg.errors.UserError: x.png: truncated\n"
        )

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["train", "x"]) == 1
    assert capsys.readouterr().err == "ibnseg: error: x.png: truncated\n"


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupt(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert cli.main(["train", "x"]) == 130
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    ["train x --data-root gta5", "train", "test x", "predict x y", "fly", "train x --seed a"],
)
def test_wrong_arguments_exit_2(line: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2


@pytest.mark.parametrize("command", ["train", "test", "predict"])
def test_help_has_an_example_and_needs_no_torch(command: str) -> None:
    """--help of the command and of tools/<command>.py, without importing what is slow."""
    code = (
        f"import sys, ibnseg.cli as c\ntry: c.main(['{command}', '--help'])\n"
        "finally: print('torch' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    tool = subprocess.run(
        [sys.executable, ROOT / "tools" / f"{command}.py", "--help"],
        capture_output=True,
        text=True,
        env=env,
    )
    assert f"example: ibnseg {command} gta2city_ibn50a" in done.stdout
    assert done.stdout.endswith("False\n")
    assert tool.stdout in done.stdout


def test_upstream_packages_are_refused(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from ibnseg import stack

    monkeypatch.setattr(stack, "version", lambda name: "2.1.0")
    assert cli.main(["train", "gta2city_ibn50a"]) == 1
    assert "pip uninstall -y mmcv" in capsys.readouterr().err
