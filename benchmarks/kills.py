"""Kills commands at random moments, gives them again, and compares what they come to, bit for bit,
with commands that nobody killed."""

from __future__ import annotations

import json
import os
import pickle
import random
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ibnseg import cli
from tests.fuzzing import ARCHIVE, STREETS

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 120.0
"""The seconds after which a command, or a case, hangs."""


# --- forks of this process, which has imported everything ---


def in_fork(work: Callable[[], Result], seconds: float = PATIENCE) -> Result | str:
    """Runs a function in a forked process, and returns what it returns, or how the process died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(work(), pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if not select.select([reader], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if content:
        return pickle.loads(content)
    return f"the process ended without a result, with signal {os.WTERMSIG(status)}"


def each_in_fork(
    work: Callable[[Item], Result], items: Iterable[Item], seconds: float = PATIENCE
) -> Iterator[Result | str]:
    """Yields what a function returns for each item, called in a process of its own.

    The processes are forked from one that has no threads, unlike this one while it shows a bar.
    """
    reader, writer = os.pipe()
    server = os.fork()
    if server == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                for item in items:
                    pickle.dump(in_fork(partial(work, item), seconds), pipe)
                    pipe.flush()
        except BrokenPipeError:
            pass
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            while True:
                try:
                    result = pickle.load(pipe)
                except EOFError:
                    return
                yield result
    finally:
        os.waitpid(server, 0)  # which ends at its next result if nobody reads it


def _start(line: str, folder: Path, before: Callable[[], None] | None = None) -> int:
    """Begins a command in a folder, as the leader of a group of processes; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        if before:
            before()
        code = cli.main(line.split())
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        os._exit(99)


def _wait(child: int, seconds: float) -> int | None:
    """Waits for a process; its exit code, -9 if it was killed, None if it still runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


# --- what is killed ---


@dataclass(frozen=True)
class Job:
    """A command that is killed, and what it comes to."""

    name: str
    line: str
    again: str
    """What continues it."""
    needs: tuple[str, ...]
    values: Callable[[Path], Mapping[str, object]]


def _bits(value: object) -> str:
    """A hash of a tensor's or an array's content, and of its type and shape."""
    if isinstance(value, torch.Tensor):
        value = value.contiguous().numpy()
    return (
        f"{value.dtype} {value.shape} {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    )


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name}.{key}", each)
    elif isinstance(value, (list, tuple)):
        for i, each in enumerate(value):
            yield from _flat(f"{name}.{i}", each)
    elif isinstance(value, (torch.Tensor, np.ndarray)):
        yield name, _bits(value)
    else:
        yield name, value


def _run(folder: Path) -> Iterator[tuple[str, object]]:
    """Weights, the optimiser's state, results and the counts of images of a run."""
    for name in ("latest.pth", "best.pth"):
        if (folder / name).exists():
            content = torch.load(folder / name, weights_only=True)
            for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
                yield from _flat(f"{name}.{key}", content.get(key))
    results = json.loads((folder / "results.json").read_text())
    for name, value in _flat("results", results):
        # a checkpoint holds the time at which it was written, and may lie in another folder
        if "checkpoint" not in name:
            yield name, value
    for path in folder.glob("per_image/*.npz"):
        with np.load(path) as file:
            yield from _flat(path.name, dict(file))
    checkpoints = sorted(path.name for path in folder.glob("checkpoints/*"))
    yield "checkpoints", " ".join(checkpoints)


def _of_run(name: str) -> Callable[[Path], Mapping[str, object]]:
    return lambda folder: dict(_run(folder / name))


def _of_suite(folder: Path) -> Mapping[str, object]:
    runs = sorted((folder / "suite").glob("*/seed*"))
    return {
        f"{run.parent.name}/{run.name}/{name}": value
        for run in runs
        if run.parent.parent.name != "configs" and (run / "config.py").exists()
        for name, value in _run(run)
    }


def _of_files(top: str) -> Callable[[Path], Mapping[str, object]]:
    """The content of all files below a folder, or of one file."""

    def read(folder: Path) -> Mapping[str, object]:
        place = folder / top
        paths = [place] if place.is_file() else sorted(place.rglob("*"))
        return {
            path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file() and not path.name.endswith(".lock")
        }

    return read


def _train(name: str, config: str) -> Job:
    line = f"train {config} --work-dir new"
    return Job(name, line, f"{line} --resume", ("data", *CONFIGS), _of_run("new"))


def _same(name: str, line: str, needs: Sequence[str], values: Callable) -> Job:
    return Job(name, line, line, tuple(needs), values)


CONFIGS = ("config.py", "average.py", "workers.py", "suite.py")
"""The configs in a workspace's ``kills``: a tiny training; one with averaged weights and the best
of several checkpoints; one with a loader's process; a suite of two runs."""

JOBS = (
    _train("train", "config.py"),
    _train("train, EMA, save_best", "average.py"),
    _train("train, one worker", "workers.py"),
    Job(
        "test",
        "test run --work-dir new",
        "test run --work-dir new --resume",
        ("run", "data"),
        _of_run("new"),
    ),
    _same("predict", "predict run photos --out new", ("run", "photos"), _of_files("new")),
    _same(
        "submit",
        f"submit run --out new.zip {ARCHIVE}",
        ("run", "streets"),
        _of_files("new.zip"),
    ),
    _same("streets", STREETS, (), _of_files("streets")),
    _same("suite", "suite suite.py --out suite", ("data", *CONFIGS), _of_suite),
    _same("prepare", "prepare gta5 cityscapes --out new", ("data",), _of_files("new")),
)
TURNS = (0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8)
"""The jobs' indices in the order in which they are killed, again and again."""


@dataclass(frozen=True)
class Undisturbed:
    """What a job does if nobody kills it."""

    values: Mapping[str, object]
    seconds: float
    writes: int
    """How often it opens a file to write, renames or removes one."""


# --- killing ---

_CHANGES = ("os.rename", "os.remove", "os.symlink", "os.mkdir")


def _at_each_write(folder: Path, do: Callable[[], None]) -> None:
    """Calls a function whenever this process is about to change something in a folder."""

    def watch(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            is_write = isinstance(path, str) and flags & (os.O_WRONLY | os.O_RDWR)
        else:
            path, is_write = (args[0], True) if event in _CHANGES else (None, False)
        if is_write and str(folder) in os.path.abspath(os.fspath(path)):
            do()

    sys.addaudithook(watch)


def _count_writes(folder: Path) -> Callable[[], None]:
    def before() -> None:
        counter = os.open("writes.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        _at_each_write(folder, lambda: os.write(counter, b"."))

    return before


def _die_at_write(folder: Path, number: int, delay: float, kill: Callable) -> Callable[[], None]:
    """Makes a function that lets its process die at one of its writes, or shortly after."""

    def before() -> None:
        pid, left = os.getpid(), [number]

        def count() -> None:
            left[0] -= 1
            if left[0] == 0 and delay == 0:
                kill(pid, signal.SIGKILL)
            elif left[0] == 0:
                threading.Timer(delay, kill, (pid, signal.SIGKILL)).start()

        _at_each_write(folder, count)

    return before


def undisturbed(job: Job, workspace: Path, place: Path) -> Undisturbed:
    """Runs a job to its end, twice: to count its writes, and to measure its time."""
    for name in ("counted", "timed"):
        folder = place / name
        _copy(job, workspace, folder)
        begin = time.monotonic()
        child = _start(job.line, folder, _count_writes(folder) if name == "counted" else None)
        code = _wait(child, PATIENCE)
        seconds = time.monotonic() - begin
        if code != 0:
            raise RuntimeError(f"{job.line}: exit {code}: {(folder / 'log.txt').read_text()}")
    writes = (place / "counted" / "writes.txt").stat().st_size
    values = [dict(job.values(place / name)) for name in ("counted", "timed")]
    if values[0] != values[1]:
        raise RuntimeError(f"{job.line}: two undisturbed runs differ: {differing(*values)}")
    return Undisturbed(values[0], seconds, writes)


@dataclass
class Killed:
    """How a job that was killed has ended."""

    name: str
    """The job's."""
    moments: list[str] = field(default_factory=list)
    """When each kill came."""
    problem: str | None = None


def kill_and_continue(
    job: Job, seed: int, expected: Undisturbed, workspace: Path, place: Path
) -> Killed:
    """Kills a job one to three times, continues it, and compares what it comes to."""
    rng, done = random.Random(seed), Killed(job.name)
    _copy(job, workspace, place)
    line = job.line
    for _ in range(rng.choice((1, 1, 2, 3))):
        kill = rng.choice((os.kill, os.killpg))
        if rng.random() < 0.5:
            delay = rng.choice((0.0, 0.0, 0.001, 0.005))
            before = _die_at_write(place, rng.randint(1, expected.writes), delay, kill)
            code = _wait(_start(line, place, before), PATIENCE)
        else:
            child = _start(line, place)
            code = _wait(child, rng.uniform(0, expected.seconds))
            if code is None:
                kill(child, signal.SIGKILL)
                code = _wait(child, PATIENCE)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            done.problem = f"exit {code}: {_tail(place)}"
            return done
        done.moments.append(_moment(place))
        line = job.again
        _wait_for_children(place)
    if done.moments:
        done.problem = _continue(job, place, expected)
    return done


def _continue(job: Job, place: Path, expected: Undisturbed) -> str | None:
    """Gives the command again, and says what is wrong with what it comes to."""
    code = _wait(_start(job.again, place), PATIENCE)
    if code and not (code == 1 and "is there already; remove it" in _tail(place)):
        return f"exit {code}: {_tail(place)}"
    found = dict(job.values(place))
    if found != expected.values:
        return f"other values: {differing(expected.values, found)}"
    left = [str(path.relative_to(place)) for path in place.rglob(".*") if ".tmp" in path.name]
    return f"left behind: {', '.join(left)}" if left else None


def _wait_for_children(place: Path) -> None:
    """Waits, if need be for 15 s, until no process of a killed command works in the folder."""
    for _ in range(300):
        if not any(_works_in(pid, place) for pid in os.listdir("/proc") if pid.isdigit()):
            return
        time.sleep(0.05)


def _works_in(pid: str, place: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(place)
    except OSError:  # it has ended
        return False


def _tail(place: Path) -> str:
    return (place / "log.txt").read_text(errors="replace")[-1500:]


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    """Says how many values differ, and names some of them."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return f"{len(names)}: {', '.join(names[:5])}"


def _copy(job: Job, workspace: Path, place: Path) -> None:
    place.mkdir(parents=True)
    for name in job.needs:
        if name in CONFIGS:
            shutil.copy2(workspace / "kills" / name, place / name)
        else:
            shutil.copytree(workspace / name, place / name, symlinks=True)


def _moment(place: Path) -> str:
    """When a command was killed, in words, as its files show."""
    if any(".tmp" in path.name for path in place.rglob(".*")):
        return "while a file was written"
    run = next((path.parent for path in place.glob("**/new/config.py")), None)
    if run is None or not (place / "config.py").exists():
        return "between files"
    counted = len(list(run.glob("per_image/*.npz")))
    tests = 0
    if (run / "results.json").exists():
        tests = len(json.loads((run / "results.json").read_text())["tests"])
    if counted > tests:
        return "between the two files of a test"
    if tests:
        return "after a test"
    if not (run / "latest.pth").is_symlink():
        return "before the first checkpoint"
    is_last = os.readlink(run / "latest.pth").endswith("iter_6.pth")
    return "after the last checkpoint" if is_last else "between checkpoints"
