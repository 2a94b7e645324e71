"""The command line: ``ibnseg COMMAND``; ``tools/*.py`` are some of the same commands."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from ibnseg import __version__
from ibnseg.commands import COMMANDS
from ibnseg.support.errors import UserError, unknown_name


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
    except (Exception, KeyboardInterrupt) as error:
        if _is_interrupt(error):
            hint = f"; to go on: {command.go_on}" if command.go_on else ""
            print(f"ibnseg: interrupted{hint}", file=sys.stderr)
            return 130
        message = _message(error)
        if message is None:
            raise
        print(f"ibnseg: error: {message}", file=sys.stderr)
        return 1
    return 0


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C, or came of it: some libraries turn it into another."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _message(error: BaseException) -> str | None:
    """What to tell the user, in one line; None if the program itself is wrong."""
    if isinstance(error, UserError):
        return _line(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None


def _line(error: UserError) -> str:
    """The message in one line; a loader's worker has put a traceback before it."""
    message = str(error).rpartition("ibnseg.support.errors.UserError: ")[2]
    return " ".join(line.strip() for line in message.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
