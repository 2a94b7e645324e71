"""Measures how fast ibnseg is beside its peers: ``python -m benchmarks [ROW ...]``.

Each row is measured in a process of its own, on one thread and on all cores; all that is compared
runs alternately in that process. Without names, all rows are measured and docs/performance.md's
table is written. `choices`, `formats`, `foundation`, `fuzz`, `gpu` and `onnx` run only if they are
named, alone, and take further options.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.names import require_known
from benchmarks.table import table, write
from ibnseg.support.progress import bar

ROOT = Path(__file__).parents[1]

ROWS = (
    "predictions",
    "layer",
    "network",
    "layer_training",
    "training",
    "samples",
    "prepared",
    "testing",
    "class_index",
    "matrix",
    "bootstrap",
    "start",
    "folder",
    "video",
    "streets",
    "scaling",
)
"""The files of this folder that measure something, in the order of the table. Each has a function
``measure(threads: int) -> list[Row]``, and its docstring begins with what it measures."""

ALONE = ("choices", "formats", "foundation", "fuzz", "gpu", "onnx")
"""The files that run only if they are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.partition(":")[0] + "."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure; see --list")
    parser.add_argument("--list", action="store_true", help="list the rows and what they measure")
    parser.add_argument(
        "--threads", type=int, action="append", help="measure with so many threads (repeatable)"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args, further = parser.parse_known_args(arguments)
    if args.list:
        for name in (*ROWS, *ALONE):
            text = Path(__file__).with_name(f"{name}.py").read_text()
            print(f"{name:16} {ast.get_docstring(ast.parse(text)).splitlines()[0]}")
        return 0
    if args.rows and args.rows[0] in ALONE:
        return import_module(f"benchmarks.{args.rows[0]}").main([*args.rows[1:], *further])
    if further:
        parser.error(f"unknown arguments: {' '.join(further)}")
    require_known(parser, "row", args.rows, ROWS)
    if args.one:
        return _measure_here(args.rows[0], args.threads[0])
    threads = args.threads or list(dict.fromkeys((1, os.cpu_count() or 1)))
    rows: dict[int, list[Row]] = {each: [] for each in threads}
    chosen = args.rows or ROWS
    with bar() as progress:
        task = progress.add_task("Measuring", total=len(chosen) * len(threads))
        for name in chosen:
            for count in threads:
                progress.update(task, description=f"{name}, {count} threads")
                rows[count] += _measure_apart(name, count)
                progress.advance(task)
    print(f"{machine()}\n\n{table(rows)}")
    if not args.rows and not args.threads:
        write(rows, machine())
        print("Results: docs/performance.md")
    return 0


def machine() -> str:
    """Describes the processor and the libraries in one line."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name}, torch {torch.__version__}"


def _measure_apart(name: str, threads: int) -> list[Row]:
    """Measures a row in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", name, "--one", "--threads", str(threads)]
    limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    # memory stays with the process, or what frees much would slow whatever runs after it
    limits |= dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**30))
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **limits}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{name} failed with {threads} threads")
    return [
        Row(**{**row, "spread": tuple(row["spread"])})
        for row in json.loads(done.stdout.splitlines()[-1])
    ]


def _measure_here(name: str, threads: int) -> int:
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    print(json.dumps([asdict(row) for row in import_module(f"benchmarks.{name}").measure(threads)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
