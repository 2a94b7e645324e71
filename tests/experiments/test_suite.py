"""A suite in several sittings: what is finished is left, what was begun goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ibnseg.engine.config import load_config
from ibnseg.errors import UserError
from ibnseg.evaluation import results
from ibnseg.experiments import suite as module
from ibnseg.experiments.plan import read_suite
from ibnseg.experiments.suite import listing, slurm, state, suite, write_config

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


def finish(run, out: Path, domains=("gta5", "cityscapes")) -> None:
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.pth").touch()
    tests = [dict(domain=domain) for domain in domains]
    (folder / "results.json").write_text(json.dumps(dict(tests=tests)))


@pytest.fixture(autouse=True)
def plain_results(request, monkeypatch):
    """Results with nothing but the names of domains are enough, where nothing is trained."""
    if "trained_runs" in request.fixturenames:
        monkeypatch.setattr(results, "read", lambda file: json.loads(file.read_text()))


def names(mine: Path) -> list[str]:
    return [run.name for run in read_suite(mine).runs]


def test_finished_runs_are_left(mine, trained_runs, tmp_path):
    runs = read_suite(mine).runs
    finish(runs[1], tmp_path)
    finish(runs[2], tmp_path, ["gta5"])  # one of two tests
    assert [state(run, tmp_path) for run in runs] == ["waiting", "finished", "begun", "waiting"]
    suite(mine, out=tmp_path)
    assert trained_runs == [runs[0].name, runs[2].name, runs[3].name]
    suite(mine, out=tmp_path)
    assert len(trained_runs) == 3


def test_one_task(mine, trained_runs, tmp_path):
    suite(mine, out=tmp_path, task=1)
    assert trained_runs == names(mine)[1:2]
    with pytest.raises(UserError, match=r"1 runs failed: .*starts from .*, which is not finished"):
        suite(mine, out=tmp_path, task=2)
    suite(mine, out=tmp_path, task=3)
    assert trained_runs == [names(mine)[1], names(mine)[3]]
    for wrong in (-1, 4):
        with pytest.raises(UserError, match=f"--task {wrong}: the suite has runs 0 to 3"):
            suite(mine, out=tmp_path, task=wrong)


def test_a_sitting_ends_with_its_time(mine, trained_runs, tmp_path, monkeypatch):
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


def test_a_list_of_the_runs(mine, trained_runs, tmp_path):
    finish(read_suite(mine).runs[0], tmp_path)
    lines = listing(mine, tmp_path).splitlines()
    assert [line.rpartition("  ")[0].split() for line in lines] == [
        ["0", "finished", "the", "first", "seed", "0"],
        ["1", "waiting", "the", "first", "seed", "1"],
        ["2", "waiting", "two", "seed", "0"],
        ["3", "waiting", "two", "seed", "1"],
    ]
    assert [line.split()[-1] for line in lines] == [str(tmp_path / name) for name in names(mine)]


def test_a_script_for_slurm(mine, tmp_path):
    """Each wave is an array that waits for the one before; the shell finds nothing wrong."""
    script = slurm(mine, "runs", {"gta5": "/data/gta5"})
    lines = [line for line in script.splitlines() if not line.startswith("#")]
    assert [line.split("=$(")[0] for line in lines] == ["wave0", "wave1"]
    assert "--array=0,1 --wrap" in lines[0]
    assert "--array=2,3 --dependency=afterok:$wave0 --wrap" in lines[1]
    told = f"ibnseg suite {mine} --out runs --data-root gta5=/data/gta5 --minutes 0 --task "
    assert all(told in line for line in lines)
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\necho "$@" >> calls\necho 42\n')
    sbatch.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True, cwd=tmp_path, env=env)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "--dependency=afterok:42" in calls[1]
    assert calls[0].endswith("--minutes 0 --task $SLURM_ARRAY_TASK_ID")  # of the job, not of now


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


def test_a_runs_config_says_all(mine, tmp_path):
    """Titles with blanks and commas, names, and where it starts from, in a file of its own."""
    text = mine.read_text().replace('title="two"', 'title="IBN-a, stages 1-2"')
    mine.write_text(text)
    run = read_suite(mine).runs[3]
    path = write_config(run, tmp_path)
    assert path == tmp_path / f"{run.name}.py"
    cfg = load_config(path)
    assert cfg.model_title == "IBN-a, stages 1-2"
    assert cfg.name == Path(run.name).parent.name
    assert cfg.start_from == str(tmp_path / run.start.name)
    assert (cfg.iterations, cfg.crop_size, cfg.train_domain) == (3, (64, 64), "gta5")
