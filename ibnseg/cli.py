"""The command line: ``ibnseg COMMAND``; ``tools/*.py`` are some of the same commands."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from ibnseg import __version__
from ibnseg.commands import COMMANDS
from ibnseg.errors import UserError, unknown_name


class Parser(argparse.ArgumentParser):
    """argparse's parser, with errors of one line that name the nearest choices."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            kind = action.dest.replace("_", " ")
            raise argparse.ArgumentError(None, str(unknown_name(kind, value, action.choices)))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it imports nothing heavy."""
    parser = Parser(
        prog="ibnseg",
        description="Train in one driving domain, test on every domain.",
        epilog=f"example: {COMMANDS['train'].example}",
    )
    parser.add_argument("--version", action="version", version=f"ibnseg {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS.values():
        own = subparsers.add_parser(
            command.name,
            help=command.description,
            description=command.description,
            epilog=f"example: {command.example}",
        )
        command.add_arguments(own)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; without one, prints the help.

    Returns:
        The exit code. Wrong input, and files that cannot be read or written, are told in one line
        on stderr and give 1; Ctrl-C gives 130.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    command = COMMANDS[args.command]
    logging.raiseExceptions = False  # a log that cannot be written is told below, once
    try:
        command.run(args)
    except UserError as error:
        return _fail(_line(error))
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror}")
    except KeyboardInterrupt:
        hint = f"; to go on: {command.go_on}" if command.go_on else ""
        print(f"ibnseg: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"ibnseg: error: {message}", file=sys.stderr)
    return 1


def _line(error: UserError) -> str:
    """The message in one line; a loader's worker has put a traceback before it."""
    message = str(error).rpartition("ibnseg.errors.UserError: ")[2]
    return " ".join(line.strip() for line in message.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
