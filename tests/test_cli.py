"""The command line: arguments, one-line errors, exit codes, help, completion."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ibnseg import cli
from ibnseg.commands import training
from ibnseg.commands.table import COMMANDS
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene

ROOT = Path(__file__).parents[1]


def run(*args: str, **kwargs) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own, with the package on its path."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, env=env, **kwargs
    )


@pytest.fixture
def command_raises(monkeypatch: pytest.MonkeyPatch):
    """A function that makes a command raise."""

    def make(name: str, error: BaseException) -> None:
        def fail(args: object) -> None:
            raise error

        monkeypatch.setattr(COMMANDS[name]._home, name, fail)

    return make


def test_nothing_but_the_table_is_on_the_standard_output() -> None:
    """So the table can be redirected to a file, although libraries print when they are imported."""
    done = run("-m", "ibnseg.cli", "matrix", "--published", "--format", "csv")
    assert done.returncode == 0
    assert done.stdout.startswith("kind,protocol,")


def test_wrong_input_is_one_line_and_exit_1(in_data: Path, capsys) -> None:
    assert cli.main(["train", "gta2city_ibn50"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("ibnseg: error: unknown config 'gta2city_ibn50'; did you mean")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            # a worker's error arrives with its traceback in the message
            UserError(
                "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent "
                "call last):\n  File ...\nibnseg.support.errors.UserError: x.png: truncated\n"
            ),
            "x.png: truncated",
        ),
        (UserError("x.py: wrong (line 1\n  line 2)\n"), "x.py: wrong (line 1 line 2)"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
    ],
)
def test_an_error_is_reported_in_one_line(
    error: Exception, line: str, command_raises, capsys
) -> None:
    command_raises("train", error)
    assert cli.main(["train", "x"]) == 1
    assert capsys.readouterr().err == f"ibnseg: error: {line}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_output_that_does_not_fit_on_the_disk_is_reported_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ibnseg.cli", "completion", "bash"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "ibnseg: error: standard output: No space left on device\n"


def test_errors_of_the_program_are_not_hidden(command_raises) -> None:
    for error in (OSError("a program's own"), ValueError("x"), RuntimeError("x")):
        command_raises("train", error)
        with pytest.raises(type(error)):
            cli.main(["train", "x"])


def test_an_interrupted_command_says_how_to_continue(command_raises, capsys) -> None:
    for line, hint in (
        ("train x", "; to continue: the same command with --resume"),
        ("test x y", "; to continue: the same command with --resume"),
        ("predict x y", "; to continue: the same command again"),
        ("imagenet x y", "; to continue: the same command again"),
        ("env", ""),
    ):
        command_raises(line.split()[0], KeyboardInterrupt())
        assert cli.main(line.split()) == 130, line
        assert capsys.readouterr().err == f"ibnseg: interrupted{hint}\n", line


def test_an_interrupt_that_a_library_turns_into_another_error_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fail(args: object) -> None:
        try:
            raise KeyboardInterrupt
        except BaseException:
            raise SyntaxError("Failed to format the config file") from None

    monkeypatch.setattr(training, "train", fail)
    assert cli.main(["train", "x"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_goes_on_after_ctrl_c(trained, tmp_path: Path) -> None:
    """SIGINT once the first prediction is there, as the terminal sends it; then the rest."""
    for i in range(80):
        save_rgb(tmp_path / "photos" / f"{i:03d}.png", scene(i)[0])
    command = ["-m", "ibnseg.cli", "predict", str(trained[1]), "photos"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "predictions/overlays/000.jpg").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "ibnseg: interrupted; to continue: the same command again\n"
    assert not list(tmp_path.glob("predictions/**/.*tmp*"))
    done = len(list(tmp_path.glob("predictions/overlays/*")))
    assert done < 80
    again = run(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"80 predictions ({done} of them there already)" in again.stdout
    assert len(list(tmp_path.glob("predictions/labels/*"))) == 80


WRONG_ARGUMENTS = (
    ("train x --data-root gta5", "'gta5': expected NAME=PATH (see ibnseg train --help)"),
    ("train x --domains ,", "',': expected names, e.g. A,B"),
    ("train", "the following arguments are required: config"),
    ("test", "the following arguments are required: NETWORK"),
    ("predict x", "the following arguments are required: INPUT"),
    ("predict a b c d", "unrecognized arguments: d (see ibnseg predict --help)"),
    ("fly", "unknown command 'fly'; known: "),
    ("pretict x y", "unknown command 'pretict'; did you mean predict?"),
    ("completion tsh", "unknown shell 'tsh'; did you mean tcsh"),
    ("train x --seed a", "argument --seed: invalid int value: 'a'"),
    ("train gta2city_r50 --out x", "unknown option '--out'; did you mean --work-dir?"),
    ("predict x y --work-dir z", "unknown option '--work-dir'; did you mean --out?"),
    ("env --dataroot x=y", "unknown option '--dataroot'; did you mean --data-root"),
    (
        "train x --wrk-dir y",
        "unknown option '--wrk-dir'; did you mean --work-dir? (see ibnseg train --help)",
    ),
    ("imagenet x y --batch 0", "argument --batch: '0': expected a whole number, 1 or more"),
    (
        "imagenet x y --workers -1",
        "argument --workers: '-1': expected a whole number, 0 or more",
    ),
    ("streets x --size 512", "'512': expected WxH, e.g. 512x256"),
    ("streets", "the following arguments are required: OUT"),
    ("matrix x --format latx", "unknown format 'latx'; did you mean latex?"),
    ("matrix --domains ,", "',': expected names, e.g. A,B"),
    ("demo --seeds 0,a", "'0,a': expected whole numbers, e.g. 0,1,2"),
    (
        "divergence x --domains a --min-share 101",
        "'101': expected a percentage, 0 to 100",
    ),
    (
        "divergence x --domains a --min-share nan",
        "'nan': expected a percentage, 0 to 100",
    ),
    ("demo --seeds 1,1", "'1,1': expected different numbers, 0 or more"),
)


def test_wrong_arguments_exit_2_in_one_line(capsys) -> None:
    for line, message in WRONG_ARGUMENTS:
        with pytest.raises(SystemExit) as stop:
            cli.main(line.split())
        assert stop.value.code == 2, line
        err = capsys.readouterr().err
        assert message in err, line
        assert err.count("\n") == 1, line


def test_help_unknown_names_and_missing_data_need_no_torch(tmp_path: Path) -> None:
    """What needs neither torch nor another large library, then what needs some of the latter."""
    small = [
        "",
        "--help",
        "--version",
        *(f"{command} --help" for command in COMMANDS if command != "streets"),
        "trian x",
        "train no_such_config",
        "test no_such_config x.pth",
        "test no/such/run",
        "test empty",
        "suite tabel6",
        "predict gta2city_r50 photos",
        "divergence empty --domains a,b",
        "robustness empty",
        "submit empty --to cityscapes",
        "submit gta2city_r50 no.pth --to cityscapes --domain citiscapes",
        "prepare citiscapes --out new",
        "train gta2city_r50 --domains citiscapes",
        "train gta2city_r50 --protocol reign",
        "test gta2city_r50 no.pth --domains citiscapes",
    ]
    larger = [
        "streets --help",
        "completion bash",
        "runs empty",
        "train gta2city_r50 --cfg-options batchh=2",
        "train gta2city_r50",
        "test gta2city_r50 no.pth",
        "matrix nowhere",
    ]
    (tmp_path / "empty").mkdir()
    code = f"""
import sys
from ibnseg.cli import main
for line in {small + larger!r}:
    try:
        main(line.split())
    except SystemExit:
        pass
    unwanted = {{"torch", "mmseg", "scipy.stats"}}
    if line in {small!r}:
        unwanted |= {{"cv2", "mmengine", "numpy", "rich"}}
    assert not unwanted & sys.modules.keys(), (line, unwanted & sys.modules.keys())
"""
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS.values():
        assert f"example: {command.example}" in done.stdout
    for message in (
        "unknown command 'trian'; did you mean train or matrix?",
        "unknown config 'no_such_config'; known: ",
        "no/such/run is not a run folder (no such folder)",
        "empty is not a run folder (no config.py)",
        "unknown suite 'tabel6'; did you mean table6 or table8?",
        "gta2city_r50: a config needs a checkpoint",
        "unknown domain 'citiscapes'; did you mean cityscapes",
        "unknown config key 'batchh'; did you mean batch or test_batch?",
        "unknown protocol 'reign'; ",
        "domain 'gta5': no folder data/gta5; put the data there",
        "no.pth: no such checkpoint",
        "nowhere is not a tested run (no results.json)",
    ):
        assert f"error: {message}" in done.stderr


def test_the_scripts_in_tools_are_the_commands(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for command in ("train", "test", "predict"):
        monkeypatch.setattr(sys, "argv", [f"tools/{command}.py", "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "tools" / f"{command}.py"))
        assert COMMANDS[command].description in capsys.readouterr().out.replace("\n", " ")


def test_without_a_command_the_help_is_printed(capsys) -> None:
    assert cli.main([]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(command.description in printed for command in COMMANDS.values())


def test_the_example_of_every_command_can_be_parsed() -> None:
    for command in COMMANDS.values():
        words = command.example.removeprefix('eval "$(').removesuffix(')"').split()
        assert words[:2] == ["ibnseg", command.name]
        assert cli.build_parser().parse_args(words[1:]).command == command.name


def test_upstream_packages_are_refused(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from ibnseg.support import stack

    monkeypatch.setattr(stack, "version", lambda name: "2.1.0")
    for line in ("train x", "test x y", "predict x y"):
        assert cli.main(line.split()) == 1
        assert "pip uninstall -y mmcv" in capsys.readouterr().err
