"""Children end with their parents, and lost processes are reported in one line."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from ibnseg.support.errors import UserError
from ibnseg.support.processes import losses_in_one_line
from tests.support.killing import FORK


class Deadly(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> int:
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


def test_a_killed_worker_of_a_loader_is_reported_in_one_line(tmp_path: Path) -> None:
    def load() -> None:  # in a process of its own: torch raises the error again and again
        try:
            with losses_in_one_line("--workers 0"):
                list(DataLoader(Deadly(), num_workers=1))
        except UserError as error:
            (tmp_path / "message").write_text(str(error))
        os._exit(0)

    process = FORK.Process(target=load)
    process.start()
    process.join()
    message = (tmp_path / "message").read_text()
    assert re.match(r"a worker that loads images (was killed \(Killed\)|has ended), prob", message)
    assert message.endswith("(/dev/shm) is full; free some, or set fewer workers, e.g. --workers 0")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory. Please try to raise your limit.",
            "was killed (Bus error), probably because",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "has ended, probably because"),
        (
            "Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared "
            "memory(shm) for file </torch_1_2>: No space left on device (28)",
            "found no room in shared memory (/dev/shm)",
        ),
        (
            "[/x/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:25515. This "
            "is typically caused by a remote worker crashing. Check the logs.",
            "cannot be reached (Connection closed by peer [127.0.0.1]:25515); its own message",
        ),
        (
            "[/x/gloo/transport/tcp/pair.cc:551] Read error [127.0.0.1]:54955: Connection reset by "
            "peer. This is typically caused by a remote worker hanging.",
            "cannot be reached (Read error [127.0.0.1]:54955: Connection reset by peer); its own",
        ),
        ("Connection reset by peer", "cannot be reached (Connection reset by peer); its own"),
        (
            "[/x/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv",
            "cannot be reached (Timed out waiting 1800000ms for recv); its own message",
        ),
    ],
)
def test_what_torch_says_of_a_lost_process_becomes_one_line(said: str, expected: str) -> None:
    with pytest.raises(UserError) as error, losses_in_one_line():
        raise RuntimeError(said)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_what_the_group_says_of_a_lost_process_becomes_one_line() -> None:
    message = r"cannot be reached \(NCCL error: x\); its own message"
    with pytest.raises(UserError, match=message), losses_in_one_line():
        raise torch.distributed.DistBackendError("NCCL error: x\nC++ CapturedTraceback:")


def test_other_errors_stay_what_they_are() -> None:
    for error in (RuntimeError("mat1 and mat2"), ValueError("Connection closed by peer")):
        with pytest.raises(type(error)) as raised, losses_in_one_line():
            raise error
        assert raised.value is error
