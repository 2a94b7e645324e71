"""``ibnseg train`` and ``ibnseg test``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments
from ibnseg.support.configs import find_config
from ibnseg.support.stack import check_stack


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``train``."""
    arguments.add_config(parser)
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--seed", type=int, help="random seed; the run lies in a folder seed<k>")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print data, memory, disk and time that the training would take, and do nothing else",
    )
    arguments.add_device(parser)
    _add_testing(parser)


def train(args: argparse.Namespace) -> None:
    """Trains a network and tests it."""
    check_stack()
    find_config(args.config)
    from ibnseg.engine.early import check_training

    check_training(args.config, **_data(args))
    from ibnseg.engine import launch, run
    from ibnseg.support.device import use_device

    use_device(args.device)
    run.train(args.config, seed=args.seed, dry=args.dry_run, **_testing(args))
    launch.stop_processes()


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``test``."""
    arguments.add_network(parser)
    parser.add_argument(
        "--resume", action="store_true", help="leave out the tests that results.json has already"
    )
    arguments.add_tta(parser)
    arguments.add_inference(parser)
    parser.set_defaults(batch=None, precision=None)  # the config's, if not given
    arguments.add_options(parser)
    _add_testing(parser)


def test(args: argparse.Namespace) -> None:
    """Tests a network."""
    check_stack()
    from ibnseg.networks.sources import check_testing

    check_testing(args.network, args.checkpoint, **_data(args))
    arguments.begin_with_device(args)
    from ibnseg.engine import launch
    from ibnseg.networks import testing

    testing.test(
        args.network,
        args.checkpoint,
        tta=args.tta,
        batch=args.batch,
        precision=args.precision,
        **_testing(args),
    )
    launch.stop_processes()


def _add_testing(parser: argparse.ArgumentParser) -> None:
    from ibnseg.evaluation.protocols import ALL, PROTOCOLS

    arguments.add_data_root(parser)
    arguments.add_domains(parser)
    known = ", ".join(PROTOCOLS)
    arguments.add_names(
        parser,
        "--protocol",
        f"test protocols: {known}; or {ALL}, for every one that the domains can be tested by",
        offered=(ALL, *PROTOCOLS),
    )
    arguments.add_class_map(parser)
    arguments.add_folder(
        parser,
        "--work-dir",
        help="the run's folder (default: work_dirs/<config>, with seed<k> below it if given; for a "
        "test the checkpoint's run)",
    )


def _testing(args: argparse.Namespace) -> dict:
    return dict(_data(args), work_dir=args.work_dir, resume=args.resume)


def _data(args: argparse.Namespace) -> dict:
    return dict(
        options=args.cfg_options,
        roots=dict(args.data_root),
        domains=args.domains,
        protocols=args.protocol,
        class_maps=dict(args.class_map) or None,
    )
