"""How long commands take to say what is wrong, or to print their help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Row, alternately, compare

ROOT = Path(__file__).parents[1]

COMMANDS = {
    "--help": 0.3,
    "train --help": 0.3,
    "trian": 0.3,
    "train gta2city_ibn5a": 0.3,
    "train gta2city_ibn50a --domains citiscapes": 0.3,
    "train gta2city_ibn50a": 1.5,
}
"""What is measured in an empty folder, with the goal in seconds."""

NOTHING, CONFIG = "python -c pass", "python -c 'import mmengine.config'"
"""What a command takes at least: the interpreter, and mmengine's reader of a config."""


def measure(threads: int) -> list[Row]:
    rows = []
    with TemporaryDirectory() as folder:
        nothing = partial(_run, ["-c", "pass"], folder)
        config = partial(_run, ["-c", "import mmengine.config"], folder)
        for line, goal in COMMANDS.items():
            command = partial(_run, ["-m", "ibnseg.cli", *line.split()], folder)
            ways: dict[str, Callable[[], object]] = {
                "ibnseg": command,
                NOTHING: nothing,
                CONFIG: config,
            }
            times = alternately(ways, seconds=0.5, warm_up=1)
            limit = f"{goal} s"
            times[limit] = [goal] * len(times["ibnseg"])
            rows.append(compare(f"ibnseg {line}", times, limit, most=1.0, unit="s"))
        rows += [compare(f"ibnseg {line}", times, least, unit="s") for least in (NOTHING, CONFIG)]
    return rows


def _run(arguments: list[str], folder: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True)
