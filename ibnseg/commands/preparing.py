"""``ibnseg prepare``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments
from ibnseg.support.errors import UserError
from ibnseg.support.stack import check_stack


def prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``prepare``."""
    parser.add_argument(
        "domains",
        nargs="*",
        metavar="DOMAIN",
        help="domains, whose training splits are prepared; with --features those of the config",
    )
    arguments.add_file(
        parser,
        "--features",
        metavar="CONFIG",
        help="store its frozen backbone's features, of crops as its training draws them",
    )
    arguments.add_options(parser)
    arguments.add_folder(
        parser, "--out", required=True, metavar="DIR", help="folder of the stores, DIR/<domain>"
    )
    arguments.add_data_root(parser)
    arguments.add_class_map(parser)
    arguments.add_device(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="decode all files, and compare with what is stored; copies with other times are known",
    )
    parser.add_argument("--clean", action="store_true", help="remove the stores")


def prepare(args: argparse.Namespace) -> None:
    """Prepares domains, or removes their stores."""
    check_stack()
    if args.features and (args.domains or args.verify or args.clean):
        raise UserError("--features CONFIG: give neither domains, --verify nor --clean beside it")
    if args.features:
        _prepare_features(args)
        return
    if not args.domains or args.cfg_options or args.device:
        raise UserError(
            "give the names of domains; or --features CONFIG, perhaps with --cfg-options and "
            "--device"
        )
    if args.clean and args.verify:
        raise UserError("--clean and --verify: give one of them")
    if args.clean:
        from ibnseg.datasets.prepare import clean

        clean(args.domains, args.out)
        return
    from ibnseg.engine.early import check_given_names

    check_given_names(None, domains=args.domains)
    from ibnseg.datasets.prepare import prepare
    from ibnseg.engine import launch

    launch.start_processes()
    prepare(
        args.domains,
        args.out,
        roots=dict(args.data_root),
        verify=args.verify,
        class_maps=dict(args.class_map),
    )
    launch.stop_processes()


def _prepare_features(args: argparse.Namespace) -> None:
    from ibnseg.engine.early import check_given_names

    check_given_names(args.features, args.cfg_options)
    from ibnseg.engine import launch
    from ibnseg.engine.read import load_config
    from ibnseg.engine.storing import prepare_features
    from ibnseg.support.device import use_device

    use_device(args.device)
    launch.start_processes()
    cfg = load_config(args.features, args.cfg_options)
    if args.class_map:
        cfg.class_maps = dict(args.class_map)
    prepare_features(cfg, args.out, roots=dict(args.data_root))
    launch.stop_processes()
