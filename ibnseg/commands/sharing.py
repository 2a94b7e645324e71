"""``ibnseg push`` and ``ibnseg pull``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments
from ibnseg.networks.sources import require_own
from ibnseg.support.configs import require_run
from ibnseg.support.stack import check_stack


def push_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``push``."""
    arguments.add_folder(parser, "run", metavar="RUN", help="folder of a run")
    arguments.add_file(
        parser,
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="another checkpoint of the run than the one it tested",
    )
    arguments.add_folder(
        parser, "--out", required=True, metavar="FOLDER", help="the folder to write"
    )
    parser.add_argument(
        "--licence",
        metavar="NAME",
        help="the licence of the weights, e.g. cc-by-nc-sa-4.0 (default: none is stated)",
    )


def push(args: argparse.Namespace) -> None:
    """Writes a run's network as the hub has it."""
    check_stack()
    require_own(args.run)
    require_run(args.run)
    from ibnseg.networks.hub import save_pretrained

    save_pretrained(args.run, args.out, args.checkpoint, licence=args.licence)


def pull_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``pull``."""
    arguments.add_folder(
        parser,
        "source",
        metavar="NAME|FOLDER",
        help="USER/NAME on the hub, or a folder that push wrote",
    )
    arguments.add_folder(
        parser, "--out", metavar="DIR", help="the run's folder (default: work_dirs/NAME)"
    )
    parser.add_argument(
        "--revision", help="a branch, tag or commit on the hub (default: its main branch)"
    )


def pull(args: argparse.Namespace) -> None:
    """Makes a run's folder of a network that others trained."""
    check_stack()
    from ibnseg.networks.pulling import pull

    pull(args.source, args.out, revision=args.revision)
