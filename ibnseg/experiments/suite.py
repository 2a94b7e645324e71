"""Runs the trainings of a suite, in as many sittings as it takes: what ``ibnseg suite`` does."""

from __future__ import annotations

import copy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ibnseg.datasets.domain import Domains
from ibnseg.evaluation import results
from ibnseg.experiments.plan import PlannedRun, Suite, read_suite, waves
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.report.gather import gather
from ibnseg.report.markdown import as_markdown, escaped
from ibnseg.report.terminal import as_terminal
from ibnseg.runs.keys import KEYS
from ibnseg.runs.kinds import as_list
from ibnseg.runs.recipe import train_domains
from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, in_turn, sha256, written_whole
from ibnseg.support.processes import tied_to_stdin
from ibnseg.support.terminal import say

OUT = Path("work_dirs", "suites")
"""The folder in which the runs of all suites lie, each once."""
STATES = ("finished", "begun", "waiting")


def suite(
    source: str | Path,
    *,
    out: str | Path = OUT,
    minutes: float | None = 90,
    task: int | None = None,
    roots: Mapping[str, str] | None = None,
) -> None:
    """Trains and tests the runs of a suite that are not finished, in order, and prints a table.

    Each run is a process of its own, ``ibnseg train ... --resume``. A run that is under way when
    the time is over is stopped, and continues in the next sitting from its last checkpoint. A run
    that fails is reported at the end, and does not stop the others. If this process is killed, its
    run ends with it.

    Args:
        source: as for :func:`ibnseg.experiments.plan.read_suite`.
        out: the folder of the runs, which have their names from their identity.
        minutes: how long this sitting may last; ``None`` for as long as it takes.
        task: the index of the only run to do, for an array of jobs; all runs if None.
        roots: folders of data by the names of domains.

    Raises:
        UserError: for a suite that cannot be read, an index out of range, a run to start from that
            is not finished, or runs that failed.
    """
    plan, out = read_suite(source), as_path(out)
    if task is not None and not 0 <= task < len(plan.runs):
        raise UserError(f"--task {task}: the suite has runs 0 to {len(plan.runs) - 1}")
    begin, failed = time.monotonic(), []
    chosen = plan.runs if task is None else plan.runs[task : task + 1]
    for i, run in enumerate(chosen):
        if state(run, out) == "finished":
            continue
        left = None if minutes is None else 60 * minutes - (time.monotonic() - begin)
        if left is not None and left <= 0:
            break
        if run.start is not None and state(run.start, out) != "finished":
            failed.append(f"{run.name} (starts from {run.start.name}, which is not finished)")
            continue
        say(f"[{i + 1}/{len(chosen)}] {run.title}, seed {run.seed}: {out / run.name}")
        with _ending_in_order():
            code = _train(run, out, roots or {}, left)
        if code == 0 and state(run, out) == "finished":
            continue
        if code == STOPPED:
            break
        failed.append(f"{run.name} (exit {code})")
    if task is None:
        report(plan, out)
    if failed:
        raise UserError(f"{len(failed)} runs failed: {'; '.join(failed)}")


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Lets a SIGTERM end the program by an exception, so that no run is left behind."""

    def end(*args: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def state(run: PlannedRun, out: Path) -> str:
    """Returns one of :data:`STATES`.

    A run is finished when the checkpoint of its last iteration (with ``save_best``, the best one)
    has been tested in every domain of its config under every protocol.
    """
    folder = Run(out / run.name)
    if not folder.is_begun:
        return "waiting"
    return "finished" if _is_finished(run, folder) else "begun"


def _is_finished(run: PlannedRun, there: Run) -> bool:
    try:
        done, found = there.config, there.results
        iteration = read_checkpoint(there.latest)["meta"]["iter"]
        tested = {"checkpoint_sha256": sha256(there.tested)}
        protocols = run.cfg.get("protocol", KEYS["protocol"].default)
        return (
            iteration == done["train_cfg"]["max_iters"]
            and {*as_list(run.cfg.test_domains)} <= {*done["test_domains"]}
            and {*as_list(protocols)} <= {*done["protocol"]}
            and all(
                results.is_done(found, tested, test, there.folder)
                for test in done["test_cfg"]["tests"]
            )
        )
    except (UserError, OSError, AttributeError, KeyError, TypeError):
        return False  # going on with it reports what is wrong


STOPPED = -1
"""What stands for the exit code of a run that was stopped because the time was over."""
GRACE = 60.0
"""The seconds that a run has to stop before it is killed."""


def _train(run: PlannedRun, out: Path, roots: Mapping[str, str], seconds: float | None) -> int:
    folder = out / run.name
    command = [sys.executable, "-m", "ibnseg.cli", "train", str(write_config(run, out)), "--resume"]
    command += ["--seed", str(run.seed), "--work-dir", str(folder), *_data_root(roots)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=tied_to_stdin())
    try:
        return process.wait(seconds)
    except KeyboardInterrupt:  # the terminal has interrupted the run, too
        _end(process)
        raise
    except subprocess.TimeoutExpired:
        return STOPPED
    finally:
        if process.poll() is None:
            process.terminate()  # SIGINT is ignored below a shell's background job
            _end(process)
        process.stdin.close()


def write_config(run: PlannedRun, out: Path) -> Path:
    """Writes a run's config below ``out/configs``, with all that it needs; returns its path."""
    cfg = copy.deepcopy(run.cfg)
    domains = dict.fromkeys([*train_domains(cfg), *as_list(cfg.get("test_domains", ()))])
    known = Domains.of(run.cfg)  # which may lie beside it
    cfg.domains = {name: known[name].as_dict() for name in domains}
    cfg.made_from = cfg.get("made_from") or str(Path(cfg.filename).resolve())
    cfg.name = Path(run.name).parent.as_posix()
    cfg.model_title = run.title
    cfg.console = "bar"
    if run.start is not None:
        cfg.start_from = str(out / run.start.name)
    path = out / "configs" / f"{run.name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    with in_turn(path), written_whole(path) as temporary:
        cfg.dump(temporary)
    return path


def _data_root(roots: Mapping[str, str]) -> list[str]:
    return ["--data-root", ",".join(f"{n}={path}" for n, path in roots.items())] if roots else []


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def report(plan: Suite, out: Path) -> None:
    """Prints how far a suite is and the table of its finished runs, and writes the table to
    ``out/<suite>.md``."""
    states = [state(run, out) for run in plan.runs]
    finished = [out / r.name for r, s in zip(plan.runs, states, strict=True) if s == "finished"]
    if finished:
        titles = {out / run.name: run.title for run in plan.runs}
        table = gather(finished, networks=titles)
        path = out / f"{plan.name}.md"
        with in_turn(path), written_whole(path) as temporary:
            temporary.write_text(f"# {escaped(plan.title)}\n\n{as_markdown(table)}\n")
        print(f"\n{as_terminal(table)}\n")
        say(f"Results: {path}")
    counts = ", ".join(f"{states.count(s)} {s}" for s in STATES if s in states)
    more = "" if len(finished) == len(states) else "; the same command continues"
    say(f"Suite {plan.name}: {len(states)} runs, {counts}{more}")


def list_suite(source: str | Path, out: str | Path = OUT) -> str:
    """Returns a line for each run of a suite: index, state, title, seed, folder."""
    plan, out = read_suite(source), as_path(out)
    width = max(len(run.title) for run in plan.runs)
    return "\n".join(
        f"{i:3d}  {state(run, out):8s}  {run.title:{width}s}  seed {run.seed}  {out / run.name}"
        for i, run in enumerate(plan.runs)
    )


def slurm(source: str | Path, out: str | Path = OUT, roots: Mapping[str, str] | None = None) -> str:
    """Returns a shell script that submits a suite as Slurm job arrays.

    The first array has the runs that start from no other run of the suite; each further one has
    those that need only runs of the arrays before.

    Args:
        source, out, roots: as for :func:`suite`.
    """
    plan = read_suite(source)
    lines = [
        "#!/bin/sh",
        "# partition, account and time: SBATCH_PARTITION and the like, or edit here",
    ]
    words = ["ibnseg", "suite", str(source), "--out", str(out), *_data_root(roots or {})]
    job = shlex.quote(f"{shlex.join(words)} --minutes 0 --task $SLURM_ARRAY_TASK_ID")
    before = ""
    for number, indices in enumerate(waves(plan.runs)):
        array = ",".join(map(str, indices))
        after = f" --dependency=afterany:${before}" if before else ""
        before = f"wave{number}"
        lines.append(
            f"{before}=$(sbatch --parsable --gres=gpu:1 --array={array}{after} --wrap {job})"
        )
    return "\n".join(lines)
