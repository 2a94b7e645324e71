"""An interrupted run ends like an uninterrupted one, bit for bit, with any number of workers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

RUN = """
import hashlib, random, sys
import numpy as np, torch
from ibnseg.engine.run import train

train(sys.argv[1], work_dir=sys.argv[2], resume=True, options=sys.argv[3:])
states = torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()
print("random state", hashlib.sha256(repr(states).encode()).hexdigest())
"""


def start(config: Path, folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, str(config), str(folder), *options]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return next(line for line in output.splitlines() if line.startswith("random state"))


def losses(folder: Path) -> dict[int, float]:
    """The loss of each iteration, from all logs of a run; a later log wins."""
    found = {}
    for log in sorted(folder.glob("*/vis_data/scalars.json")):
        rows = (json.loads(line) for line in log.read_text().splitlines())
        found |= {row["step"]: row["loss"] for row in rows if "loss" in row}
    return found


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(in_data: Path, tiny_config) -> None:
    """Killed with SIGKILL after a checkpoint, and resumed with two loader workers in place of
    none."""
    config = tiny_config("gta5", ["gta5"], "iterations = 12\nkeep_checkpoints = 9")
    whole, killed = in_data / "whole", in_data / "killed"
    through = start(config, whole)
    victim = start(config, killed, "iterations=12")
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints" / "iter_4.pth").exists():
        assert victim.poll() is None, victim.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    reached = torch.load(killed / "latest.pth", weights_only=True)["meta"]["iter"]
    assert 2 <= reached < 12  # the fourth may be there and not yet the latest
    state = finish(through)
    assert finish(start(config, killed, "workers=2")) == state
    found, expected = (
        torch.load(folder / "latest.pth", weights_only=True) for folder in (killed, whole)
    )
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert same(found[part], expected[part]), part
    assert losses(killed) == losses(whole)
    assert sorted(losses(whole)) == list(range(1, 13))
    digests = {
        hashlib.sha256((folder / "per_image/gta5-native.npz").read_bytes()).hexdigest()
        for folder in (whole, killed)
    }
    assert len(digests) == 1
