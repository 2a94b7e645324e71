"""A campaign of damaged files and killed commands: ``python -m benchmarks.fuzz``.

Asked for: each damaged file gives the right result or one line, and what was killed and given again
comes to the same, bit for bit. Wrong cases are kept in ``--out`` with what was printed;
``--replay SEED`` runs one again. docs/reliability.md has the figures.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import torch

import ibnseg.analysis.robustness.measure
import ibnseg.engine.run
import ibnseg.experiments.suite
import ibnseg.networks.folder
import ibnseg.report.terminal
import ibnseg.streets.write
import ibnseg.submission.submit  # noqa: F401
from benchmarks import kills
from ibnseg.support.files import config_folder
from ibnseg.support.progress import bar
from tests.conftest import LEARNS, TINY, write_cityscapes, write_gta5
from tests.fuzzing import TARGETS, Case, Verdict, Workspace, call, lay_out

KINDS = ("right", "one line", "wrong")
MINUTES = 600.0
"""The seconds that a command with its kills may take."""

AVERAGE = """
custom_hooks = [dict(type="EMAHook")]
save_best = True
selection_split = "train"
"""
SUITE = """
title = "Two runs"
runs = [dict(config="config.py", seeds=(0, 1))]
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="damaged files to try")
    parser.add_argument("--kills", type=int, default=100, help="kills to survive")
    parser.add_argument(
        "--only", choices=[job.name for job in kills.JOBS], help="kill this command alone"
    )
    parser.add_argument("--seed", type=int, default=0, help="the first damage's seed")
    parser.add_argument("--replay", type=int, help="try the damage of this seed alone")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/fuzz"))
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    out = args.out.resolve()
    folder = out / "undamaged"
    if not (folder / "archive.zip").exists():
        shutil.rmtree(folder, ignore_errors=True)
        problem = kills.in_fork(lambda: make_workspace(folder))
        if problem:
            sys.exit(problem)
    if args.replay is not None:
        return replay(Workspace(folder), args.replay, out)
    shutil.rmtree(out / "wrong", ignore_errors=True)
    wrong = 0
    if args.inputs:
        wrong += damage(Workspace(folder), range(args.seed, args.seed + args.inputs), out)
    if args.kills:
        wrong += kill(folder, args.kills, args.seed, out, args.only)
    return int(bool(wrong))


def make_workspace(folder: Path) -> None:
    """Draws the data, trains the run, and makes everything that is damaged."""
    source = folder.with_name("source")
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    folder.mkdir(parents=True)
    write_gta5(source / "data/gta5")
    write_cityscapes(source / "data/cityscapes")
    tiny = TINY.format(
        configs=config_folder().as_posix(), train="gta5", tests=["gta5", "cityscapes"]
    )
    (source / "config.py").write_text(tiny + LEARNS)
    done = call("train config.py --work-dir run", source)
    if done.code:
        raise RuntimeError(done.errors)
    lay_out(folder, source / "config.py", source / "run", source / "data")
    texts = {"config": tiny, "average": tiny + AVERAGE, "workers": f"{tiny}workers = 1\n"}
    (folder / "kills").mkdir()
    for name, text in texts.items():
        (folder / "kills" / f"{name}.py").write_text(text)
    (folder / "kills" / "suite.py").write_text(SUITE)


def damage(workspace: Workspace, seeds: Sequence[int], out: Path) -> int:
    """Tries damaged files, each in a process of its own; prints tables, also if it is interrupted,
    and returns how many were wrong."""
    targets = {command.line: (target, command) for target in TARGETS for command in target.commands}
    found = kills.each_in_fork(lambda line: workspace.undamaged(*targets[line]), targets)
    for line, values in zip(targets, found, strict=True):
        if isinstance(values, str):
            sys.exit(f"{line}: {values}")
        workspace.before[line] = values
    by_target, by_mutation = Counter(), Counter()
    cases = [workspace.case(seed) for seed in seeds]
    verdicts = kills.each_in_fork(lambda case: try_one(workspace, case, out), cases)
    done = []
    with closing(verdicts), suppress(KeyboardInterrupt), bar() as progress:
        shown = progress.track(verdicts, len(cases), description="Damaging files")
        for case, found in zip(cases, shown, strict=True):
            kind = found if found in KINDS else "wrong"
            by_target[case.target.name, kind] += 1
            by_mutation[case.mutation.name, kind] += 1
            done.append(case)
    table("damaged", sorted(case.target.name for case in done), by_target, KINDS)
    table("damage", sorted(case.mutation.name for case in done), by_mutation, KINDS)
    return sum(by_target[each.name, "wrong"] for each in TARGETS)


def try_one(workspace: Workspace, case: Case, out: Path) -> str:
    """Tries a case in a process of its own, and returns the kind of its ending."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        verdict = kills.in_fork(lambda: workspace.try_case(case, place))
        if isinstance(verdict, str):
            verdict = Verdict("wrong", verdict)
        if verdict.kind == "wrong":
            keep(case, verdict, place, out / "wrong")
    return verdict.kind


def keep(case: Case, verdict: Verdict, place: Path, folder: Path) -> None:
    """Keeps the damaged file of a case that went wrong, and what was printed."""
    own = folder / str(case.seed)
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    damaged = place / case.file
    if damaged.is_file() and not damaged.is_symlink():
        shutil.copyfile(damaged, own / damaged.name)
    words = f"seed {case.seed}\n{case.file}: {case.mutation.name}\nibnseg {case.command.line}\n"
    (own / "what.txt").write_text(f"{words}\n{verdict.what}\n")


def replay(workspace: Workspace, seed: int, out: Path) -> int:
    """Tries one damage, and leaves the folder for a look."""
    case = workspace.case(seed)
    place = out / f"replay-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    verdict = workspace.try_case(case, place)
    print(f"{case.file}: {case.mutation.name}\nibnseg {case.command.line}\n{place}")
    print(f"{verdict.kind}: {verdict.what}")
    return int(verdict.kind == "wrong")


def kill(workspace: Path, count: int, seed: int, out: Path, only: str | None = None) -> int:
    """Kills commands, or only the one of a name, until there were ``count`` kills; prints tables,
    returns how many commands came to something else than undisturbed ones."""
    jobs = [job for job in kills.JOBS if only in (None, job.name)]
    turns = [kills.JOBS[i] for i in kills.TURNS if kills.JOBS[i] in jobs]
    done: list[kills.Killed] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        measured = kills.each_in_fork(
            lambda job: kills.undisturbed(job, workspace, place / job.name), jobs, MINUTES
        )
        expected = dict(zip((job.name for job in jobs), measured, strict=True))
        for job_name, found in expected.items():
            if isinstance(found, str):
                sys.exit(f"{job_name}: {found}")

        def kill_one(number: int) -> kills.Killed:
            job = turns[number % len(turns)]
            folder = place / str(number)
            killed = kills.kill_and_continue(job, number, expected[job.name], workspace, folder)
            if killed.problem:
                keep_killed(killed, folder, out / "wrong" / f"kill-{number}")
            shutil.rmtree(folder, ignore_errors=True)
            return killed

        results = kills.each_in_fork(kill_one, itertools.count(seed), MINUTES)
        with closing(results), bar() as progress:
            task = progress.add_task("Killing commands", total=count)
            for number, killed in enumerate(results):
                if isinstance(killed, str):
                    killed = kills.Killed(f"command {seed + number}", ["unknown"], killed)
                done.append(killed)
                progress.update(task, completed=sum(len(each.moments) for each in done))
                if progress.finished:
                    break
    by_job, by_moment = Counter(), Counter()
    for killed in done:
        by_job[killed.name, "kills"] += len(killed.moments)
        by_job[killed.name, "wrong" if killed.problem else "right"] += 1
        by_moment.update((moment, "kills") for moment in killed.moments)
    table("killed", sorted(killed.name for killed in done), by_job, ("kills", "right", "wrong"))
    moments = sorted(moment for killed in done for moment in killed.moments)
    table("moment", moments, by_moment, ("kills",))
    return sum(bool(killed.problem) for killed in done)


def keep_killed(killed: kills.Killed, place: Path, folder: Path) -> None:
    """Keeps the folder of a command that did not continue as it should, and what was printed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place, folder, symlinks=True)
    moments = ", ".join(killed.moments)
    (folder / "what.txt").write_text(f"{killed.name}\n{moments}\n{killed.problem}\n")


def table(
    title: str,
    names: Iterable[str],
    counts: Counter,
    columns: Sequence[str],
) -> None:
    """Prints a Markdown table of counts, with their sums."""
    rows = [(n, *(counts[n, column] for column in columns)) for n in dict.fromkeys(names)]
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, len(columns) + 1))))
    print(f"\n| {title} | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    sys.exit(main())
