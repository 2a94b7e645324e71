"""``ibnseg predict`` and ``ibnseg submit``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments
from ibnseg.submission import TARGETS
from ibnseg.support.configs import require_network
from ibnseg.support.errors import UserError
from ibnseg.support.stack import check_stack


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``predict``."""
    arguments.add_network(parser)
    images = parser.add_argument(
        "images", metavar="INPUT", help="folder of images or videos, or one of them"
    )
    images.complete = arguments.FILES
    arguments.add_out(parser, "predictions")
    parser.add_argument(
        "--write",
        type=arguments.names,
        default=[],
        metavar="A,B",
        help="beside train ids and overlays: label-ids, confidence, probabilities",
    )
    arguments.add_inference(parser)
    arguments.add_options(parser)


def predict(args: argparse.Namespace) -> None:
    """Predicts images and videos."""
    check_stack()
    require_network(args.network, args.checkpoint)
    from ibnseg.networks.folder import predict_folder
    from ibnseg.support.device import use_device

    use_device(args.device)
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


def submit_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``submit``."""
    arguments.add_network(parser, nargs="?")
    parser.add_argument(
        "--to", required=True, choices=tuple(TARGETS), help="what the archive is for"
    )
    out = parser.add_argument(
        "--out", default="submission.zip", metavar="FILE", help="default: submission.zip"
    )
    out.complete = arguments.FILES
    checked = parser.add_argument(
        "--check", metavar="FILE", help="check an archive alone, without predicting"
    )
    checked.complete = arguments.FILES
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
    check_stack()
    data = dict(domain=args.domain, split=args.split, roots=dict(args.data_root))
    if args.check:
        from ibnseg.submission.submit import check

        check(args.check, args.to, args.network, **data)
        return
    require_network(args.network, args.checkpoint)
    from ibnseg.submission.submit import submit
    from ibnseg.support.device import use_device

    use_device(args.device)
    submit(
        args.network,
        args.checkpoint,
        args.to,
        args.out,
        options=args.cfg_options,
        tta=args.tta,
        **data,
    )
