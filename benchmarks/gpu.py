"""One GPU: the layer, training steps, loaders, tests and exactness, in at most eight minutes.

``python -m benchmarks gpu [SECTION ...]`` prints the card's name and a table for each section, and
whether the checks hold; it returns 1 if one does not, and 2 without a GPU. What there is no time
for is named. ``--device cpu --quick`` runs the same code on tiny sizes, to see that it works.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from mmengine.registry import init_default_scope

from benchmarks.foundation import vit
from benchmarks.gpu_checks import no_waits, resumes, same_step, two_processes
from benchmarks.gpu_speed import CheckError, Place, compiling, deeplab, fcn, layer, loaders, testing
from benchmarks.names import require_known
from benchmarks.table import table
from ibnseg.support.environment import devices

SECONDS = 480.0
"""How long all sections may take together."""

SECTIONS: dict[str, tuple[Callable, float]] = {
    "same_step": (same_step, 15),
    "no_waits": (no_waits, 15),
    "resumes": (resumes, 30),
    "two_processes": (two_processes, 60),
    "layer": (layer, 40),
    "fcn": (fcn, 100),
    "deeplab": (deeplab, 100),
    "vit": (vit, 30),
    "loaders": (loaders, 30),
    "testing": (testing, 40),
    "compiling": (compiling, 110),
}
"""Each section with the seconds that it is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    args = parser.parse_args(arguments)
    require_known(parser, "section", args.sections, SECTIONS)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("gpu: there is no GPU that torch sees; --device cpu --quick tries the code")
        return 2
    init_default_scope("mmseg")
    found = devices()
    print(", ".join(found[name] for name in found if name.startswith(args.device[:1].upper())))
    begin, held = perf_counter(), True
    with tempfile.TemporaryDirectory() as folder:
        place = Place(torch.device(args.device), args.quick, Path(folder))
        for name in args.sections or SECTIONS:
            section, seconds = SECTIONS[name]
            left = SECONDS - (perf_counter() - begin)
            if left < seconds:
                print(f"\n{name}: left out, because {left:.0f} s are left")
                continue
            held &= _run(section, place, 0 if args.quick else seconds)
    print(f"\n{perf_counter() - begin:.0f} s; every check holds" if held else "\na check fails")
    return 0 if held else 1


def _run(section: Callable, place: Place, seconds: float) -> bool:
    """Runs a section and prints what it found; False if a check does not hold."""
    title = section.__doc__.splitlines()[0]
    torch.use_deterministic_algorithms(False)  # a check asks for them
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    try:
        found = section(place, seconds)
        said = found if isinstance(found, str) else "\n\n" + table({1: list(found)})
    except CheckError as error:
        print(f"\n{title} NO: {error}")
        return False
    print(f"\n{title} {said}", flush=True)
    return True
