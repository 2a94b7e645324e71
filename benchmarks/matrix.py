"""``ibnseg matrix`` over many runs: how its time and memory grow with their number.

``python -m benchmarks.matrix --runs 200 --domains 8 --images 1000`` measures one size once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Row, alternately, compare
from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.evaluation import results
from ibnseg.evaluation.per_image import write_per_image
from ibnseg.support.progress import bar

SEEDS = 5
"""The seeds of each network."""

FILES = 3
"""The files with the counts of each image that the runs of a domain have in turn."""

PROTOCOL = dict(name="native", version=1, inference="whole")

_CHILD = """
import sys, time
from ibnseg.report.data import as_json
from ibnseg.report.gather import gather

def mib(key):  # of this process alone: ru_maxrss would count the one that started it, too
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

before, begin = mib("VmRSS"), time.perf_counter()
as_json(gather(sys.argv[1:]))
print(time.perf_counter() - begin, mib("VmHWM") - before)
"""
"""Prints the seconds that a matrix takes, and the MiB that it needs beside what is imported."""


def measure(threads: int) -> list[Row]:
    half, whole = 10, 20
    with TemporaryDirectory() as folder:
        runs = write_runs(Path(folder), whole, domains=2, images=500)
        found: dict[int, list[tuple[float, float]]] = {half: [], whole: []}
        ways = {
            name: lambda count=count: found[count].append(time_and_memory(runs[:count]))
            for name, count in {"ibnseg": whole, "half as many": half}.items()
        }
        alternately(ways, seconds=4, warm_up=0)
    names = {"ibnseg": whole, "half as many": half}
    seconds, memory = (
        {name: [each[i] for each in found[count]] for name, count in names.items()}
        for i in range(2)
    )
    size = f"{whole} runs x 2 domains x 500 images"
    return [
        compare(f"matrix of {size}", seconds, "half as many", most=2.2, unit="s"),
        compare(f"memory of it, {size}", memory, "half as many", most=1.2, unit="MiB"),
    ]


def write_runs(root: Path, runs: int, domains: int, images: int) -> list[Path]:
    """Writes results of runs as testing does, with matrices of 19 classes, and returns their
    folders. Every second domain has its images in groups of 20."""
    classes = CITYSCAPES.classes
    with bar() as progress:
        task = progress.add_task("Writing runs", total=domains * FILES)
        files = {}
        for domain in range(domains):
            rng = np.random.default_rng(domain)
            truth = rng.poisson(9000, (images, len(classes))) * (rng.random(len(classes)) < 0.9)
            truth *= rng.random(truth.shape) < 0.6
            names = [f"val/{i:05d}.png" for i in range(images)]
            groups = [f"town {i // 20}" for i in range(images)] if domain % 2 else names
            for k in range(FILES):
                likely = np.eye(len(classes)) * rng.uniform(2, 30, len(classes)) + 1
                drawn = rng.multinomial(truth, likely / likely.sum(axis=1, keepdims=True))
                path = root / f"files/{domain}-{k}.npz"
                write_per_image(path, dict(zip(names, drawn, strict=True)), groups)
                files[domain, k] = path, drawn.sum(axis=0)
                progress.advance(task)
    folders = []
    for i in range(runs):
        folder, records = root / f"network{i // SEEDS}" / f"seed{i % SEEDS}", []
        (folder / "per_image").mkdir(parents=True)
        for domain in range(domains):
            path, confusion = files[domain, i % FILES]
            own = f"per_image/domain{domain}.npz"
            os.link(path, folder / own)
            records.append(
                results.test_record(
                    f"domain{domain}", "val", PROTOCOL, classes, classes, confusion, images, [], own
                )
            )
        name = f"network{i // SEEDS}"
        run = dict(
            name=name,
            model=name,
            title=name,
            train_domain="domain0",
            train_domains=["domain0"],
            checkpoint_sha256=str(i),
            iteration=1,
            seed=i % SEEDS,
            recipe=None,
        )
        results.write(folder / "results.json", results.merge(None, run, records))
        folders.append(folder)
    return folders


def time_and_memory(runs: list[Path]) -> tuple[float, float]:
    """Compares runs in a process of its own, and returns its seconds and the MiB that it needs,
    without imports."""
    command = [sys.executable, "-c", _CHILD, *map(str, runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description=__doc__)
    for name, default in dict(runs=20, domains=2, images=300).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        runs = write_runs(Path(folder), args.runs, args.domains, args.images)
        seconds, memory = time_and_memory(runs)
    print(json.dumps(dict(vars(args), seconds=round(seconds, 1), MiB=round(memory))))


if __name__ == "__main__":
    main()
