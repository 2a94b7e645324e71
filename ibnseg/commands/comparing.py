"""``ibnseg matrix`` and ``ibnseg suite``."""

from __future__ import annotations

import argparse
import os
import sys

from ibnseg.commands import arguments
from ibnseg.support.configs import find_suite
from ibnseg.support.stack import check_stack
from ibnseg.support.terminal import say


def matrix_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``matrix``."""
    arguments.add_runs(parser, "*")
    parser.add_argument(
        "--metric",
        default="mIoU",
        help="mIoU (default), a class, e.g. car, or another metric of docs/matrix.md, e.g. "
        "pixel_accuracy or boundary_iou",
    )
    arguments.add_names(
        parser,
        "--import",
        "modules with metrics of your own, which are executed; so are those in $IBNSEG_IMPORTS",
        dest="imports",
        action="extend",
        default=[],
    )
    arguments.add_names(parser, "--protocol", "only these protocols, e.g. native")
    arguments.add_names(parser, "--domains", "only these test domains")
    parser.add_argument(
        "--format",
        choices=("terminal", "markdown", "latex", "csv", "json"),
        default="terminal",
        help="what is printed (default: terminal)",
    )
    parser.add_argument(
        "--published", action="store_true", help="with published numbers; all of them without RUN"
    )


def matrix(args: argparse.Namespace) -> None:
    """Prints the comparison of runs."""
    check_stack()
    from ibnseg.networks.sources import results_folder
    from ibnseg.report.formats import FORMATS
    from ibnseg.report.gather import gather
    from ibnseg.runs.run import Run

    named = [name for name in os.environ.get("IBNSEG_IMPORTS", "").split(",") if name]
    for names, where in ((named, "$IBNSEG_IMPORTS"), (args.imports, "--import")):
        if names:
            from ibnseg.engine.imports import import_named

            import_named(names, where)
    report = gather(
        [results_folder(run) for run in args.runs],
        args.metric,
        args.protocol,
        args.domains,
        args.published,
        recipe_of=lambda folder: (recipe := Run(folder).recipe) and recipe.as_dict(),
    )
    print(FORMATS[args.format](report))
    if args.published and not report.has_published:
        say(f"ibnseg: no published {args.metric} for these domains", sys.stderr)


def suite_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``suite``."""
    arguments.add_file(
        parser,
        "suite",
        metavar="SUITE",
        help="evidence, table6 or table8; or a file with a list of runs",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=90,
        help="how long this sitting may last (default: 90); 0 for as long as it takes",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the runs with their state, and do nothing else"
    )
    parser.add_argument(
        "--task", type=int, metavar="K", help="do run K alone, as a job of an array"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="print a script that submits all as arrays of jobs"
    )
    arguments.add_out(parser, "work_dirs/suites")
    arguments.add_data_root(parser)


def suite(args: argparse.Namespace) -> None:
    """Runs, lists or submits a suite."""
    check_stack()
    find_suite(args.suite)
    from ibnseg.experiments import suite

    roots = dict(args.data_root)
    if args.list:
        say(suite.list_suite(args.suite, args.out))
    elif args.slurm:
        print(suite.slurm(args.suite, args.out, roots))
    else:
        minutes = args.minutes or None
        suite.suite(args.suite, out=args.out, minutes=minutes, task=args.task, roots=roots)
