"""Lists the runs below a folder, each with its state and scores; all are read as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ibnseg.evaluation import results
from ibnseg.runs.recipe import is_foreign_network
from ibnseg.runs.run import CONFIG, RESULTS, Run
from ibnseg.support.data_files import walk_folders
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, is_locked

LOGS = "vis_data"
"""The folder of mmengine's logs in a run. It holds a copy of the config, and is not a run."""


def list_runs(folder: str | Path) -> str:
    """Makes a line for each run below a folder: path, state, and mIoU in each test domain.

    Raises:
        UserError: if there is no such folder, or no run in it.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; runs are kept in work_dirs by default")
    rows = [(str(run.folder), run_state(run), scores(run)) for run in find_runs(folder)]
    if not rows:
        raise UserError(f"{folder}: no runs in it (folders with a {CONFIG})")
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(
        f"{path:{widths[0]}}  {word:{widths[1]}}  {text}".rstrip() for path, word, text in rows
    )


def find_runs(folder: Path) -> Iterator[Run]:
    """Finds the runs below a folder, itself included, in order of their paths."""
    for place in walk_folders(folder):
        if place.name != LOGS and (place / CONFIG).is_file():
            yield Run(place)


def run_state(run: Run) -> str:
    """Describes in words how far a run is: training now, interrupted, finished, not tested, empty,
    damaged, pulled, or of unknown length; or that its network was not trained here."""
    if is_locked(run.folder):
        return f"training now{_progress(run)}"
    if not run.is_begun:
        return "not trained here" if _is_foreign(run) else "empty (no checkpoint)"
    if not run.latest.exists():
        return "damaged (its latest checkpoint is missing)"
    try:
        last, total = _steps(run)
        pulled = run.pulled
    except UserError:
        return f"damaged ({CONFIG} cannot be read)"
    if pulled:
        return f"pulled from {pulled['source']}"
    if total is None or last is None:
        return "unknown length"
    if last < total:
        return f"interrupted at step {last} of {total}"
    try:
        return "finished" if run.results else f"trained {total} steps, not tested"
    except UserError:
        return f"damaged ({RESULTS} cannot be read)"


def scores(run: Run) -> str:
    """Describes the mIoU in percent in each test domain, of the checkpoint that was tested last."""
    found = []
    for test in _tests(run):
        protocol = test["protocol"].get("name")
        where = test["domain"] if protocol == "native" else f"{test['domain']} ({protocol})"
        value = test["metrics"]["mIoU"]
        found.append(f"{where} {'-' if value is None else f'{100 * value:.1f}'}")
    return f"mIoU {', '.join(found)}" if found else ""


def _is_foreign(run: Run) -> bool:
    """Whether a folder has the tests of a network that was not trained here."""
    try:
        return is_foreign_network(run.config)
    except UserError:
        return False


def _progress(run: Run) -> str:
    """How far a run that is under way has come, as far as its checkpoints show."""
    try:
        last, total = _steps(run)
    except UserError:
        return ""
    return f", from step {last or 0} of {total} on" if total else ""


def _steps(run: Run) -> tuple[int | None, int | None]:
    """The step of the latest checkpoint, by its file's name, and the number of all steps."""
    loop = run.config.get("train_cfg")
    total = loop.get("max_iters") if isinstance(loop, dict) else None
    number = run.latest.resolve().stem.rpartition("_")[2]
    return int(number) if number.isdecimal() else None, total


def _tests(run: Run) -> list[dict]:
    """The tests of the checkpoint that was tested last; none if they cannot be read."""
    try:
        return results.current(run.results)["tests"] if run.results else []
    except UserError:
        return []
