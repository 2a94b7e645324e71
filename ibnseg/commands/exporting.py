"""``ibnseg export``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``export``."""
    arguments.add_network(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--full",
        action="store_true",
        help="a checkpoint with all weights, those of a frozen backbone included",
    )
    arguments.add_file(parser, "--out", required=True, metavar="FILE", help="the file to write")
    arguments.add_device(parser)
    arguments.add_options(parser)


def export(args: argparse.Namespace) -> None:
    """Writes a network as one file."""
    arguments.begin_with_network(args)
    from ibnseg.networks.export import export_weights

    export_weights(args.network, args.checkpoint, args.out, options=args.cfg_options)
