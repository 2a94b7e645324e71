"""Joins the processes of a training: of torchrun or Slurm, on GPUs (NCCL) or CPUs (gloo)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.device import get_device


def slurm_as_torchrun(env: Mapping[str, str]) -> dict[str, str]:
    """Makes the variables that torchrun would set from those of a Slurm step of several tasks.

    Args:
        env: environment variables. ``MASTER_ADDR`` and ``MASTER_PORT`` are kept if set.

    Returns:
        RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; empty outside of srun, for a single
        task, and under torchrun.
    """
    tasks = env.get("SLURM_STEP_NUM_TASKS", "1")  # absent in a batch script outside of srun
    if "RANK" in env or int(tasks) < 2:
        return {}
    address = env.get("MASTER_ADDR") or _first_host(env["SLURM_STEP_NODELIST"])
    return dict(
        RANK=env["SLURM_PROCID"],
        LOCAL_RANK=env["SLURM_LOCALID"],
        WORLD_SIZE=tasks,
        MASTER_ADDR=address,
        MASTER_PORT=env.get("MASTER_PORT") or str(20000 + int(env.get("SLURM_JOB_ID", 0)) % 20000),
    )


def _first_host(nodes: str) -> str:
    if not set(nodes) & set("[,"):
        return nodes
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()[0]


def stop_processes() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def start_processes() -> int:
    """Joins the process group if there is one to join, and returns the number of processes.

    With GPUs, the backend is NCCL and each process uses the GPU of its local rank; otherwise the
    backend is gloo.
    """
    os.environ.update(slurm_as_torchrun(os.environ))
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 1
    if not dist.is_initialized():
        gpu = get_device() == "cuda"
        if gpu:
            # a Slurm task may see only its own GPU, as number 0
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(minutes=30))
    return dist.get_world_size()
