"""The command line: ``ibnseg train | test | predict``; ``tools/*.py`` are the same commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ibnseg import __version__
from ibnseg.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="ibnseg", description="Train in one driving domain, test on every domain."
    )
    parser.add_argument("--version", action="version", version=f"ibnseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    train = _command(
        commands, "train", "Train a network, then test it on every domain of the config."
    )
    train.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    train.add_argument("--seed", type=int, help="seed; the run lies in a folder seed<k>")
    _add_testing(train)

    test = _command(commands, "test", "Test a checkpoint on every domain of a config.")
    test.add_argument("checkpoint", help="a checkpoint of the config's network")
    _add_testing(test)

    predict = _command(commands, "predict", "Write label maps and overlays for a folder of images.")
    predict.add_argument("checkpoint", help="a checkpoint of the config's network")
    predict.add_argument("folder", help="folder of PNG or JPEG images")
    predict.add_argument("--out", default="predictions", help="where to (default: predictions)")
    return parser


EXAMPLES = {
    "train": "ibnseg train gta2city_ibn50a --data-root gta5=/data/gta5,cityscapes=/data/cityscapes",
    "test": (
        "ibnseg test gta2city_ibn50a work_dirs/gta2city_ibn50a/latest.pth --protocol native,paper"
    ),
    "predict": "ibnseg predict gta2city_ibn50a work_dirs/gta2city_ibn50a/latest.pth photos/",
}


def _command(commands, name: str, description: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=description, description=description, epilog=f"example: {EXAMPLES[name]}"
    )
    command.add_argument("config", help="path of a config, or name of one of the package's")
    command.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="changes to the config, as batch=8 model.backbone.depth=101",
    )
    return command


def _add_testing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-root",
        type=_roots,
        action="extend",
        default=[],
        metavar="NAME=PATH,...",
        help="where a domain's data lies (otherwise: $IBNSEG_DATA/<name>, then data/<name>)",
    )
    command.add_argument(
        "--domains", type=_names, metavar="A,B", help="domains to test on instead of the config's"
    )
    command.add_argument(
        "--protocol", type=_names, metavar="A,B", help="test protocols: native, paper"
    )
    command.add_argument(
        "--work-dir",
        help="the run's folder (default: work_dirs/<config>, with seed<k> below it if given; for a "
        "test the checkpoint's run)",
    )


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _roots(text: str) -> list[tuple[str, str]]:
    pairs = [pair.split("=", 1) for pair in _names(text)]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=PATH")
    return [(name, path) for name, path in pairs]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; wrong input is told in one line on stderr and gives 1, Ctrl-C gives 130."""
    args = build_parser().parse_args(argv)
    try:
        _run(args)
    except UserError as error:
        # a loader's worker wraps the message into its traceback, of which it is the last line
        line = str(error).strip().splitlines()[-1].removeprefix("ibnseg.errors.UserError: ")
        print(f"ibnseg: error: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        hint = "; go on with --resume" if args.command == "train" else ""
        print(f"ibnseg: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    from ibnseg.stack import check_stack

    check_stack()
    options = dict(options=args.cfg_options)
    if args.command == "predict":
        from ibnseg.engine.predict import predict

        predict(args.config, args.checkpoint, args.folder, args.out, **options)
        return
    from ibnseg.engine import run
    from ibnseg.engine.launch import stop_processes

    options |= dict(
        roots=dict(args.data_root),
        domains=args.domains,
        protocols=args.protocol,
        work_dir=args.work_dir,
    )
    if args.command == "train":
        run.train(args.config, seed=args.seed, resume=args.resume, **options)
    else:
        run.test(args.config, args.checkpoint, **options)
    stop_processes()


if __name__ == "__main__":
    sys.exit(main())
