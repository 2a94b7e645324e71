"""Processes: Slurm's variables, and two CPU processes against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ibnseg.engine import launch
from ibnseg.engine.launch import slurm_as_torchrun
from ibnseg.engine.run import train

SLURM = dict(
    SLURM_PROCID="3",
    SLURM_LOCALID="1",
    SLURM_STEP_NUM_TASKS="4",
    SLURM_STEP_NODELIST="node7",
    SLURM_JOB_ID="123456",
)


@pytest.mark.parametrize("tasks", ["2", "4"])
def test_slurm_step_of_several_tasks_reads_as_torchrun(tasks: str) -> None:
    env = {**SLURM, "SLURM_STEP_NUM_TASKS": tasks}
    assert slurm_as_torchrun(env) == dict(
        RANK="3", LOCAL_RANK="1", WORLD_SIZE=tasks, MASTER_ADDR="node7", MASTER_PORT="23456"
    )


def test_a_given_master_is_kept_under_slurm() -> None:
    env = {**SLURM, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert slurm_as_torchrun(env)["MASTER_ADDR"] == "10.0.0.1"
    assert slurm_as_torchrun(env)["MASTER_PORT"] == "29500"


def test_the_first_of_several_nodes_of_slurm_is_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **kwargs) -> subprocess.CompletedProcess:
        assert command == ["scontrol", "show", "hostnames", "node[7-9]"]
        return subprocess.CompletedProcess(command, 0, "node7\nnode8\nnode9\n")

    monkeypatch.setattr(launch.subprocess, "run", run)
    env = {**SLURM, "SLURM_STEP_NODELIST": "node[7-9]"}
    assert slurm_as_torchrun(env)["MASTER_ADDR"] == "node7"


def test_what_is_not_a_slurm_step_of_several_tasks_is_one_process() -> None:
    one, torchrun = {"SLURM_STEP_NUM_TASKS": "1"}, {"RANK": "0"}
    for env in ({}, {**SLURM, **one}, {**SLURM, **torchrun}, {"SLURM_NTASKS": "2"}):
        assert slurm_as_torchrun(env) == {}, env


def ibnseg(*args: str, cwd: Path, processes: int = 1, **env: str) -> subprocess.CompletedProcess:
    """Runs the command line in processes of its own."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
        start += ["--master_port=0", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    done = subprocess.run(
        [*start, "-m", "ibnseg.cli", *args],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def losses(folder: Path) -> list[float]:
    """The loss of each step, from the log of a run."""
    (log,) = folder.glob("*/vis_data/scalars.json")
    rows = map(json.loads, log.read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
def test_two_processes_train_as_one_process_does(in_data: Path, tiny_config) -> None:
    """Training and testing on two gloo processes give what one gives, five images or four.

    The network has no batch statistics; crops differ in their classes, which are weighted, and in
    how much of them is void.
    """
    exact = """
model["backbone"].update(norm_eval=True, norm_cfg=dict(type="SyncBN", requires_grad=True))
model["decode_head"].update(norm_cfg=None, dropout_ratio=0)
train_domain = "cityscapes"
crop_size = (48, 64)
scale = (0.4, 1.5)
weights = [0.5 + i / 4 for i in range(19)]
extra = ("weights",)
model["decode_head"]["loss_decode"] = dict(class_weight=weights, avg_non_ignore=False)
iterations = 2
"""
    config = str(tiny_config("gta5", ["gta5", "cityscapes"], exact))
    train(config, work_dir="one")
    ibnseg("train", config, "--work-dir", "two", cwd=in_data, processes=2)
    one, two = (
        torch.load(in_data / run / "latest.pth", weights_only=True)["state_dict"]
        for run in ("one", "two")
    )
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-5, atol=1e-7, msg=key)
    logged = [losses(in_data / run) for run in ("one", "two")]
    assert logged[0] == pytest.approx(logged[1], rel=1e-4)
    assert len(logged[0]) == 2
    # the same checkpoint, so that not one pixel may differ
    ibnseg("test", config, "one/latest.pth", "--work-dir", "by_two", cwd=in_data, processes=2)
    single, double = (
        json.loads((in_data / run / "results.json").read_text())["tests"]
        for run in ("one", "by_two")
    )
    assert [test["images"] for test in single] == [5, 5]
    assert single == double
    for name in ("gta5", "cityscapes"):
        a, b = (np.load(in_data / r / f"per_image/{name}-native.npz") for r in ("one", "by_two"))
        assert a["names"].tolist() == b["names"].tolist()
        np.testing.assert_array_equal(a["confusion"], b["confusion"])
    assert not (in_data / ".dist_test").exists()
