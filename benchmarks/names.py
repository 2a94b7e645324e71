"""Checks names that are given on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable

from ibnseg.support.errors import unknown_name


def require_known(
    parser: argparse.ArgumentParser, what: str, given: Iterable[str], known: Collection[str]
) -> None:
    """Ends the program with an error for a name that is unknown; it names the nearest ones.

    Args:
        parser: the parser of the command, whose usage is printed.
        what: what the error calls such a name, e.g. ``"row"``.
        given: names from the command line.
        known: all names that may be given.
    """
    for name in given:
        if name not in known:
            parser.error(str(unknown_name(what, name, known)))
