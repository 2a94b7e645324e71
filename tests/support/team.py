"""Several processes of one command, for tests: forked from this one, joined by gloo."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from ibnseg.support.errors import UserError
from tests.support.killing import FORK


def in_processes(number: int, work: Callable[[], object], folder: Path) -> list[str]:
    """Calls a function in each of several processes, which know each other as torchrun's do.

    Args:
        number: the number of processes.
        work: the function; the environment variable RANK tells it which process it is in.
        folder: an empty folder, for what the processes print.

    Returns:
        What each process has printed, then the error that it ended with, or ``killed``.
    """
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(number),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        torch.set_num_threads(1)  # a fork has lost the threads of its parent
        with (folder / str(rank)).open("w") as sys.stdout:
            try:
                work()
            except BaseException as error:
                if not isinstance(error, UserError):
                    traceback.print_exc(file=sys.stdout)
                print(f"{type(error).__name__}: {error}")
        os._exit(0)

    processes = [FORK.Process(target=run, args=(rank,)) for rank in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
            raise AssertionError("a process hangs")
    return [
        (folder / str(rank)).read_text() + ("killed" if process.exitcode else "")
        for rank, process in enumerate(processes)
    ]
