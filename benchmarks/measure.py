"""Measures ways of doing the same work against each other in one process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

ROUNDS = 7
"""The fewest rounds that a ratio is the median of, unless they take long."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what ibnseg takes for some work, and what a peer or a bound takes."""

    work: str
    ours: float
    peer: str
    """What ibnseg is compared with, e.g. ``mmseg``, or a bound such as ``decoding alone``."""
    theirs: float
    ratio: float
    """The median over the rounds of ours / theirs."""
    spread: tuple[float, float]
    """The lower and upper quartile of the rounds' ratios."""
    most: float | None = None
    """The goal: the largest ratio that was aimed at; None for a row that only informs."""
    unit: str = "ms"
    note: str = ""

    @property
    def is_met(self) -> bool:
        return self.most is None or self.ratio <= self.most


def alternately(
    ways: Mapping[str, Callable[[], object]],
    seconds: float = 6.0,
    warm_up: int = 2,
    rounds: int = ROUNDS,
) -> dict[str, list[float]]:
    """Times several ways of doing the same work, one after another in each round.

    So whatever slows the machine for a while slows all of them, and the ratio within a round stays.

    Args:
        ways: by name, callables without arguments.
        seconds: how long all rounds may take together, if that is more than ``rounds`` of them.
        warm_up: rounds before, which are not timed.
        rounds: the fewest rounds.

    Returns:
        By name, the seconds of each round.
    """
    for _ in range(warm_up):
        for way in ways.values():
            way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    gc.collect()
    begin = perf_counter()
    while perf_counter() - begin < seconds or len(times[next(iter(ways))]) < rounds:
        for name, way in ways.items():
            start = perf_counter()
            way()
            times[name].append(perf_counter() - start)
    return times


def compare(
    work: str,
    times: Mapping[str, Sequence[float]],
    peer: str,
    most: float | None = None,
    ours: str = "ibnseg",
    unit: str = "ms",
    note: str = "",
) -> Row:
    """Makes a row of two of the ways that were measured :func:`alternately`.

    Args:
        work: what was done, with its sizes.
        times: what each way took in each round: seconds for the units ``ms`` and ``s``, otherwise
            numbers in ``unit``.
        peer, ours: names in ``times``.
        most: the goal, the largest ours / theirs that was aimed at.
        unit: the unit of the row, e.g. ``ms``, ``s``, ``MiB``.
        note: what a reader should know about this row, in a few words.
    """
    ratios = [a / b for a, b in zip(times[ours], times[peer], strict=True)]
    spread = quantiles(ratios, n=4)[::2] if len(ratios) > 1 else [ratios[0]] * 2
    factor = 1000 if unit == "ms" else 1
    return Row(
        work=work,
        ours=factor * median(times[ours]),
        peer=peer,
        theirs=factor * median(times[peer]),
        ratio=median(ratios),
        spread=(spread[0], spread[1]),
        most=most,
        unit=unit,
        note=note,
    )


def peak_memory(prepare: Callable[[], Callable[[], object]], threads: int) -> float:
    """Measures by how many MiB a call lets the memory of a process grow at its peak.

    It runs in a process of its own, of which Linux reports the peak since a moment.

    Args:
        prepare: a function of a module; it makes all that is not measured, and returns the call.
        threads: the number of threads of torch and OpenCV.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (prepare, threads))


def _growth(prepare: Callable[[], Callable[[], object]], threads: int) -> float:
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    way = prepare()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is held now
    before = _memory("VmRSS")
    kept = way()
    after = _memory("VmHWM")
    del kept
    return (after - before) / 1024


def _memory(name: str) -> int:
    """A line of Linux's account of this process's memory, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise OSError(f"Linux does not report {name}")
