"""The command line: ``ibnseg COMMAND``; ``tools/*.py`` are some of the same commands."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ibnseg import __version__
from ibnseg.commands.table import COMMANDS
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.processes import end_with_stdin
from ibnseg.support.stack import opencv_error
from ibnseg.support.terminal import clean_logs, say, visible

SAME = {"--out": "--work-dir", "--work-dir": "--out"}
"""Options of some commands, and what those of others are called that mean the same."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line and name the nearest choices."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, visible(f"{self.prog}: error: {message} (see {self.prog} --help)\n"))

    def parse_known_args(self, args=None, namespace=None) -> tuple[argparse.Namespace, list[str]]:
        """Reports what is left over here, where a command's own options are known."""
        parsed, left = super().parse_known_args(args, namespace)
        option = next((each.partition("=")[0] for each in left if each.startswith("--")), None)
        if option:
            known = [each for each in self._option_string_actions if each.startswith("--")]
            if SAME.get(option) in known:
                self.error(f"unknown option '{option}'; did you mean {SAME[option]}?")
            self.error(str(unknown_name("option", option, known)))
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return parsed, left

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            kind = action.dest.replace("_", " ")
            raise argparse.ArgumentError(None, str(unknown_name(kind, value, action.choices)))


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Makes the parser of all commands, for which torch is not imported.

    Args:
        only: the name of the only command whose arguments are known; of all by default.
    """
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
        if only in (None, command.name):
            command.add_arguments(own)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command, or prints the help if there is none.

    Returns:
        The exit code. Wrong input, and files that cannot be read or written, give 1 and one line
        on stderr; Ctrl-C gives 130.
    """
    end_with_stdin()
    words = sys.argv[1:] if argv is None else argv
    try:
        parser = build_parser(only=words[0] if words else "")
    except ImportError as error:  # of a module whose names are choices
        message = opencv_error(error)
        if message is None:
            raise
        print(f"ibnseg: error: {message}", file=sys.stderr)
        return 1
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 0
    args.build_parser = build_parser  # for the command that prints its completion
    command = COMMANDS[args.command]
    clean_logs()
    logging.raiseExceptions = False  # a log that cannot be written is reported below, once
    try:
        command.run(args)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if _is_interrupt(error):
            hint = f"; to continue: {command.go_on}" if command.go_on else ""
            print(f"ibnseg: interrupted{hint}", file=sys.stderr)
            return 130
        message = _message(error)
        if message is None:
            raise
        say(f"ibnseg: error: {message}", sys.stderr)
        return 1
    return 0


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C or was caused by it: some libraries raise another instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _message(error: BaseException) -> str | None:
    """The line that the user reads; None if the error is the program's own."""
    error = opencv_error(error) or error
    if isinstance(error, UserError):
        return _line(error)
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename
        if place is None and error.errno == errno.ENOSPC and _output_fails():
            place = "standard output"
        return f"{place}: {error.strerror}" if place else error.strerror
    return None


def _output_fails() -> bool:
    """Whether the standard output cannot be written, e.g. to a full disk; what is left of it is
    then dropped."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _line(error: UserError) -> str:
    """The message in one line, without the traceback that a loader's worker puts before it."""
    message = str(error).rpartition("ibnseg.support.errors.UserError: ")[2]
    return " ".join(line.strip() for line in message.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
