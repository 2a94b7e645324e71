"""A suite in several sittings: finished runs are skipped, interrupted ones continue."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.read import load_config
from ibnseg.evaluation import results
from ibnseg.evaluation.per_image import write_per_image
from ibnseg.experiments import suite as module
from ibnseg.experiments.plan import read_suite
from ibnseg.experiments.suite import list_suite, slurm, state, suite, write_config
from ibnseg.report.gather import gather
from ibnseg.report.terminal import as_terminal
from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder, sha256
from tests.conftest import save_run
from tests.support.killing import FORK, is_alive, kill_alone, wait_until

SUITE = """
title = "Mine"
seeds = (0, 1)
runs = [
    dict(config={config!r}, title="the first"),
    dict(config={config!r}, title="two", options={{"iterations": 3}}, start="the first"),
]
"""


@pytest.fixture
def mine(tiny_config, in_data: Path) -> Path:
    """Four runs of a tiny network, the last two of which start from the first two."""
    more = "iterations = 2\ncrop_size = (64, 64)\nbatch = 2\nworkers = 0"
    config = str(tiny_config("gta5", ["gta5", "cityscapes"], more))
    (in_data / "mine.py").write_text(SUITE.format(config=config))
    return in_data / "mine.py"


@pytest.fixture
def trained_runs(monkeypatch, tmp_path) -> list[str]:
    """Names of the runs that were to be trained; nothing is, and each is finished at once."""
    done: list[str] = []

    def train(run, out, roots, left):
        done.append(run.name)
        finish(run, out)
        return 0

    monkeypatch.setattr(module, "_train", train)
    monkeypatch.setattr(module, "report", lambda *args: None)
    return done


def finish(
    run, out: Path, domains=("gta5", "cityscapes"), protocols=("native",), iteration=None
) -> None:
    """The files of a finished run, with a checkpoint that holds only its iteration."""
    folder, steps = out / run.name, run.cfg.iterations
    folder.mkdir(parents=True, exist_ok=True)
    tests = [
        dict(domain=domain, split="val", protocol=dict(name=name, version=1, inference="whole"))
        for domain in domains
        for name in protocols
    ]
    config = dict(
        train_cfg=dict(max_iters=steps),
        save_best=run.cfg.get("save_best", False),
        test_domains=list(domains),
        protocol=list(protocols),
        test_cfg=dict(tests=tests),
        work_dir=str(folder),
    )
    Config(config).dump(folder / "config.py")
    torch.save({"meta": {"iter": iteration or steps}, "state_dict": {}}, folder / "latest.pth")
    write_per_image(folder / "per_image.npz", {"a.png": np.ones((1, 1), int)}, ["a.png"])
    records = [
        results.test_record(
            **test,
            classes=["road"],
            eval_classes=["road"],
            confusion=np.ones((1, 1), int),
            images=1,
            skipped=[],
            per_image="per_image.npz",
        )
        for test in tests
    ]
    tested = dict.fromkeys(("name", "model", "title", "train_domain"), "x")
    tested |= dict(checkpoint_sha256=sha256(folder / "latest.pth"), iteration=steps, seed=0)
    results.write(folder / "results.json", results.merge(None, tested, records))


def names(mine: Path) -> list[str]:
    return [run.name for run in read_suite(mine).runs]


def test_finished_runs_are_not_trained_again(mine, trained_runs, tmp_path):
    runs = read_suite(mine).runs
    finish(runs[1], tmp_path)
    finish(runs[2], tmp_path, ["gta5"])  # one of two tests
    assert [state(run, tmp_path) for run in runs] == ["waiting", "finished", "begun", "waiting"]
    suite(mine, out=tmp_path)
    assert trained_runs == [runs[0].name, runs[2].name, runs[3].name]
    suite(mine, out=tmp_path)
    assert len(trained_runs) == 3


def test_a_run_is_finished_once_its_last_iteration_is_tested_everywhere(
    mine, trained_runs, tmp_path
):
    """The last iteration, or the best one, tested itself, in all domains under all protocols."""
    run = read_suite(mine).runs[0]
    folder = tmp_path / run.name
    finish(run, tmp_path, iteration=1)
    assert state(run, tmp_path) == "begun"  # tested on the way
    finish(run, tmp_path)
    assert state(run, tmp_path) == "finished"
    (folder / "per_image.npz").unlink()
    assert state(run, tmp_path) == "begun"
    finish(run, tmp_path)
    torch.save({"meta": {"iter": 2}, "x": 1}, folder / "latest.pth")
    assert state(run, tmp_path) == "begun"  # another checkpoint was tested
    finish(run, tmp_path)
    run.cfg.protocol = ["native", "short1024"]
    assert state(run, tmp_path) == "begun"
    finish(run, tmp_path, protocols=run.cfg.protocol)
    assert state(run, tmp_path) == "finished"
    run.cfg.save_best = True
    finish(run, tmp_path, protocols=run.cfg.protocol)
    assert state(run, tmp_path) == "begun"  # there is no best one
    shutil.copy(folder / "latest.pth", folder / "best.pth")
    assert state(run, tmp_path) == "finished"


def test_a_test_that_is_recorded_under_a_longer_name_is_done(mine, trained_runs, tmp_path):
    """Sliding windows and test-time augmentation make the name longer."""
    run = read_suite(mine).runs[0]
    finish(run, tmp_path, protocols=["native+tta"])
    config = tmp_path / run.name / "config.py"
    config.write_text(config.read_text() + "\nprotocol = ['native']\n")
    assert state(run, tmp_path) == "finished"


@pytest.mark.parametrize("name", ["results.json", "config.py", "latest.pth"])
def test_a_damaged_run_is_not_finished(mine, trained_runs, tmp_path, name):
    """Going on with it tells what is wrong."""
    run = read_suite(mine).runs[0]
    finish(run, tmp_path)
    (tmp_path / run.name / name).write_text("cut(")
    assert state(run, tmp_path) == "begun"


def test_a_task_trains_only_its_own_run(mine, trained_runs, tmp_path):
    suite(mine, out=tmp_path, task=1)
    assert trained_runs == names(mine)[1:2]
    with pytest.raises(UserError, match=r"1 runs failed: .*starts from .*, which is not finished"):
        suite(mine, out=tmp_path, task=2)
    suite(mine, out=tmp_path, task=3)
    assert trained_runs == [names(mine)[1], names(mine)[3]]
    for wrong in (-1, 4):
        with pytest.raises(UserError, match=f"--task {wrong}: the suite has runs 0 to 3"):
            suite(mine, out=tmp_path, task=wrong)


def test_the_command_ends_when_its_minutes_are_over(mine, trained_runs, tmp_path, monkeypatch):
    clock = iter([0.0, 0.0, 59.0, 60.0, 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    suite(mine, out=tmp_path, minutes=1)
    assert trained_runs == names(mine)[:2]


def test_a_run_that_fails_holds_up_none_but_what_starts_from_it(
    mine, trained_runs, tmp_path, monkeypatch
):
    train, first = module._train, names(mine)[0]
    monkeypatch.setattr(
        module, "_train", lambda run, *args: 1 if run.name == first else train(run, *args)
    )
    with pytest.raises(UserError) as error:
        suite(mine, out=tmp_path)
    assert trained_runs == [names(mine)[1], names(mine)[3]]
    assert str(error.value).startswith(f"2 runs failed: {first} (exit 1); {names(mine)[2]} (starts")


def test_the_list_shows_the_state_of_every_run(mine, trained_runs, tmp_path):
    finish(read_suite(mine).runs[0], tmp_path)
    lines = list_suite(mine, tmp_path).splitlines()
    assert [line.rpartition("  ")[0].split() for line in lines] == [
        ["0", "finished", "the", "first", "seed", "0"],
        ["1", "waiting", "the", "first", "seed", "1"],
        ["2", "waiting", "two", "seed", "0"],
        ["3", "waiting", "two", "seed", "1"],
    ]
    assert [line.split()[-1] for line in lines] == [str(tmp_path / name) for name in names(mine)]


def test_the_script_for_slurm_starts_every_run(mine, tmp_path):
    """Each wave is an array that waits for the one before, and the shell accepts the script."""
    script = slurm(mine, "it's my runs", {"gta5": "/data/gta5"})
    lines = [line for line in script.splitlines() if not line.startswith("#")]
    assert [line.split("=$(")[0] for line in lines] == ["wave0", "wave1"]
    assert "--array=0,1 --wrap" in lines[0]
    assert "--array=2,3 --dependency=afterany:$wave0 --wrap" in lines[1]
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\necho "$@" >> calls\necho 42\n')
    sbatch.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True, cwd=tmp_path, env=env)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "--dependency=afterany:42" in calls[1]
    words = shlex.split(calls[0].split("--wrap ")[1])
    told = [*("--out", "it's my runs", "--data-root", "gta5=/data/gta5", "--minutes", "0")]
    assert words == ["ibnseg", "suite", str(mine), *told, "--task", "$SLURM_ARRAY_TASK_ID"]


@pytest.mark.parametrize("trap", ["", "trap '' INT"])
def test_a_run_is_stopped_when_its_time_is_over(mine, tmp_path, monkeypatch, trap):
    """Below a job that ignores the terminal's interrupt, too."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{trap}\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    begin = time.monotonic()
    run = read_suite(mine).runs[0]
    assert module._train(run, tmp_path / "runs", {}, 0.5) == module.STOPPED
    assert time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_suite_from_nothing_to_its_table(mine, data: Path, tmp_path, capsys, monkeypatch):
    """Runs as processes of their own, each once, the second from the weights of the first."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    mine.write_text(mine.read_text().replace("(0, 1)", "(0,)"))
    first, second = names(mine)
    out = tmp_path / "runs"
    suite(mine, out=out, task=0)
    before = results.read(out / first / "results.json")
    suite(mine, out=out, minutes=None)
    assert results.read(out / first / "results.json") == before
    printed = capsys.readouterr().out
    assert "Suite mine: 2 runs, 2 finished\n" in printed
    assert re.search(r"GTA5 +the first ", printed)  # a blank in a title stays
    assert (out / "mine.md").read_text().startswith("# Mine\n")
    log = next((out / second).glob("*/*.log")).read_text()
    assert f"Loaded {out / first}" in log


def test_seeds_that_start_from_their_seeds_are_one_network(mine, tmp_path):
    """Such seeds have one name and one recipe; runs with a fixed start have another."""

    def told(run, start: str) -> tuple[str, str]:
        config = tmp_path / run.name / "config.py"
        config.parent.mkdir(parents=True, exist_ok=True)
        more = f"seed = {run.seed}\nstart_from = {start!r}\ntrain_cfg = dict(max_iters=3)\n"
        more += "test_cfg = dict(type='ibnseg.DomainTestLoop')\nwork_dir = 'x'\n"
        config.write_text(write_config(run, tmp_path).read_text() + more)
        return load_config(config).name, Run(config.parent).recipe

    runs = read_suite(mine).runs[2:]
    own = [told(run, f"runs/seed{run.seed}") for run in runs]
    assert own[0] == own[1]
    assert None not in own[0]
    assert told(runs[0], "runs/seed1") != own[0]


def test_a_suite_that_is_told_to_end_leaves_no_run_behind(mine, tmp_path, monkeypatch):
    started = tmp_path / "started"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def tell() -> None:
        while not (started.exists() and started.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        suite(mine, out=tmp_path / "runs")
    assert ended.value.code == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_suite_that_is_killed_alone_takes_its_training_with_it(mine, tmp_path, monkeypatch):
    """The training runs below the real command line, and would take a minute."""
    python = tmp_path / "python"
    (tmp_path / "started").mkdir()
    python.write_text(
        f"""#!{sys.executable}
import os, pathlib, sys, time
from ibnseg import cli
from ibnseg.commands import training
def train(args):
    pathlib.Path({str(tmp_path / "started")!r}, str(os.getpid())).touch()
    time.sleep(60)
training.train = train
sys.exit(cli.main(sys.argv[3:]))
"""
    )
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(sys, "executable", str(python))
    work = FORK.Process(target=module._train, args=(read_suite(mine).runs[0], tmp_path, {}, None))
    work.start()
    (pid,) = kill_alone(work, 1, tmp_path / "started")
    assert wait_until(lambda: not is_alive(pid))


def test_titles_are_the_suites_own(mine, trained_runs, tmp_path, monkeypatch):
    """This also holds for a run that another suite has trained."""
    monkeypatch.undo()
    run = read_suite(mine).runs[0]
    images = [[[5, 5], [0, 0]]]
    folder = save_run(tmp_path / "run", {"gta5": images}, title="trained as")
    table = gather([folder], networks={folder: run.title})
    assert "the first" in as_terminal(table)
    assert "trained as" not in as_terminal(table)


def test_a_runs_config_has_the_domains_beside_its_own(mine, tmp_path):
    text = (config_folder() / "_base_" / "domains" / "gta5.py").read_text()
    own = read_suite(mine).runs[0].config
    folder = Path(own).parent / "_base_" / "domains"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hills.py").write_text(text.replace('"gta5"', '"hills"').replace("GTA5", "Hills", 1))
    mine.write_text(f"runs = [dict(config={own!r}, options=dict(train_domain='hills'))]")
    cfg = load_config(write_config(read_suite(mine).runs[0], tmp_path))
    assert Domains.of(cfg)["hills"].title == "Hills"


def test_what_a_killed_suite_left_half_written_goes(mine, tmp_path):
    run = read_suite(mine).runs[0]
    path = write_config(run, tmp_path)
    left = path.with_name(f".{path.stem}-abcdefgh.tmp.py")
    left.touch()
    assert write_config(run, tmp_path) == path
    assert not left.exists()


def test_the_config_of_a_run_needs_no_other_file(mine, tmp_path):
    """Titles with blanks and commas, names, and where it starts from, in a file of its own."""
    text = mine.read_text().replace('title="two"', 'title="IBN-a, stages 1-2"')
    mine.write_text(text)
    run = read_suite(mine).runs[3]
    path = write_config(run, tmp_path)
    assert path == tmp_path / "configs" / f"{run.name}.py"  # not in the way of seed*
    cfg = load_config(path)
    assert cfg.model_title == "IBN-a, stages 1-2"
    assert cfg.name == Path(run.name).parent.name
    assert cfg.start_from == str(tmp_path / run.start.name)
    assert (cfg.iterations, cfg.crop_size, cfg.train_domain) == (3, (64, 64), "gta5")
