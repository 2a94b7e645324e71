"""Training steps in each precision and layout, and compiled, beside float32: what `auto` goes by.

``python -m benchmarks choices [NETWORK ...]`` prints how many times as fast as in float32, NCHW, a
step of each network is: the table of ibnseg/engine/automatic.py. With ``--compile``, the compiled
steps are measured, too; compiling takes minutes, which are not counted but printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.measure import alternately, compare
from benchmarks.names import require_known
from benchmarks.table import line
from benchmarks.training import IMAGES, OURS, PREPROCESSOR, step
from ibnseg.engine.compiled import compiled
from ibnseg.engine.precision import WRAPPERS
from ibnseg.models.build import build_network
from ibnseg.support.files import config_folder

WIDE = {
    "r18": OURS,
    "ibn18a": OURS | dict(backbone=OURS["backbone"] | dict(variant="a")),
}
"""The networks of published width, FCNs at output stride 8."""

SIDES = dict.fromkeys(WIDE, 256) | {
    "streets_ibn18a": 256,
    "streets_ibnx50a": 128,
    "streets_ibndense121a": 128,
    "streets_seibn50a": 128,
}
"""The networks, those of the generated streets by their configs, with the side of the crops."""

PLAIN = ("float32", False, False)
WAYS = {
    "float32": PLAIN,
    "float32, channels-last": ("float32", True, False),
    "bfloat16": ("bfloat16", False, False),
    "bfloat16, channels-last": ("bfloat16", True, False),
}
"""Precision, whether channels-last, and whether compiled."""
COMPILED = {
    "float32, compiled": ("float32", False, True),
    "bfloat16, channels-last, compiled": ("bfloat16", True, True),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks choices", description=__doc__.splitlines()[0]
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(SIDES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15, help="for the steps of a network")
    parser.add_argument("--compile", action="store_true", help="measure compiled steps, too")
    args = parser.parse_args(arguments)
    require_known(parser, "network", args.networks, SIDES)
    torch.set_num_threads(args.threads)
    init_default_scope("mmseg")
    ways = WAYS | (COMPILED if args.compile else {})
    found = {name: speeds(name, ways, args.seconds) for name in args.networks or SIDES}
    print(line(("step", *(f"{name}, {IMAGES}x{SIDES[name]}x{SIDES[name]}" for name in found))))
    print(line(["---"] * (len(found) + 1)))
    for way in ways:
        print(line((way, *(of_network[way] for of_network in found.values()))))
    return 0


def speeds(name: str, ways: dict[str, tuple[str, bool, bool]], seconds: float) -> dict[str, str]:
    """Measures how many times as fast as a network's plain step each way of computing it is.

    Args:
        name: one of ``SIDES``.
        ways: entries of ``WAYS`` and ``COMPILED``; the first is the plain one.
        seconds: how long all rounds may take together, without compiling.

    Returns:
        By way, the median over the rounds, with their quartiles.
    """
    with ExitStack() as stack:
        steps: dict[str, Callable[[], object]] = {}
        for way, (precision, channels_last, is_compiled) in ways.items():
            network = build_network(_model(name))
            if channels_last:
                network = network.to(memory_format=torch.channels_last)
            if is_compiled:
                stack.enter_context(compiled(network))
            steps[way] = step(network, WRAPPERS[precision], side=SIDES[name])
            begin = perf_counter()
            steps[way]()
            if is_compiled:
                print(f"{name}, {way}: the first step took {perf_counter() - begin:.0f} s")
        times = alternately(steps, seconds, warm_up=1)
    plain = next(iter(ways))
    rows = {way: compare(name, times, way, ours=plain) for way in ways}
    return {
        way: f"{r.ratio:.2f} ({r.spread[0]:.2f} to {r.spread[1]:.2f})" for way, r in rows.items()
    }


def _model(name: str) -> dict:
    if name in WIDE:
        return WIDE[name]
    model = Config.fromfile(config_folder() / f"{name}.py").model
    return dict(model, data_preprocessor=PREPROCESSOR)
