"""``ibnseg predict`` and ``ibnseg submit``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments
from ibnseg.networks.kinds import kind_of
from ibnseg.networks.sources import require
from ibnseg.submission import TARGETS
from ibnseg.support.errors import UserError
from ibnseg.support.stack import check_stack


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``predict``."""
    arguments.add_network(parser)
    arguments.add_file(
        parser, "images", metavar="INPUT", help="folder of images or videos, or one of them"
    )
    arguments.add_out(parser, "predictions")
    arguments.add_names(
        parser,
        "--write",
        "beside train ids and overlays: label-ids, confidence, probabilities",
        default=[],
    )
    arguments.add_inference(parser)
    arguments.add_options(parser)


def predict(args: argparse.Namespace) -> None:
    """Predicts images and videos."""
    arguments.begin_with_network(args)
    from ibnseg.engine import launch
    from ibnseg.networks.folder import predict_folder

    predict_folder(
        args.network,
        args.checkpoint,
        args.images,
        args.out,
        options=args.cfg_options,
        write=args.write,
        batch=args.batch,
        precision=args.precision,
    )
    launch.stop_processes()


def submit_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``submit``."""
    arguments.add_network(parser, nargs="?")
    parser.add_argument(
        "--to", required=True, choices=tuple(TARGETS), help="what the archive is for"
    )
    arguments.add_file(
        parser,
        "--out",
        default="submission.zip",
        metavar="FILE",
        help="the archive to write (default: submission.zip)",
    )
    arguments.add_file(
        parser, "--check", metavar="FILE", help="check an archive alone, without predicting"
    )
    parser.add_argument(
        "--domain",
        help="the domain to predict (default: the target's own); its layout must be the same",
    )
    parser.add_argument("--split", default="test", help="test (default) or val")
    arguments.add_tta(parser)
    arguments.add_device(parser)
    arguments.add_options(parser)
    arguments.add_data_root(parser)


def submit(args: argparse.Namespace) -> None:
    """Writes an archive, or checks one."""
    if not (args.check or args.network):
        raise UserError("submit: expected a run or config, or --check FILE")
    data = dict(domain=args.domain, split=args.split, roots=dict(args.data_root))
    check_stack()
    if not args.check:
        require(args.network, args.checkpoint, maps=True)
    from ibnseg.engine.early import check_given_names

    own = None if args.network and kind_of(args.network) else args.network
    check_given_names(own, args.cfg_options, [args.domain] if args.domain else [])
    if args.check:
        from ibnseg.submission.submit import check

        check(args.check, args.to, args.network, **data)
        return
    arguments.begin_with_network(args, maps=True)
    from ibnseg.engine import launch
    from ibnseg.submission.submit import submit

    submit(
        args.network,
        args.checkpoint,
        args.to,
        args.out,
        options=args.cfg_options,
        tta=args.tta,
        **data,
    )
    launch.stop_processes()
