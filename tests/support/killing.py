"""Processes that are killed alone, for tests of what they leave."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

FORK = multiprocessing.get_context("fork")


def wait_until(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Whether a condition holds before the time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_alone(parent: multiprocessing.Process, children: int, folder: Path) -> list[int]:
    """Kills a process once its children have each left a file named by their number in a folder;
    returns the numbers."""
    assert wait_until(lambda: len([*folder.iterdir()]) == children)
    pids = [int(path.name) for path in folder.iterdir()]
    assert all(map(is_alive, pids))
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    return pids
