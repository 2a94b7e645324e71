"""The one exception that a user is meant to read: a line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Wrong input: the message names the file or key, what was found, what was expected, what to
    do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that is not in a table, with the nearest known ones first."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")


@contextmanager
def building(key: str) -> Iterator[None]:
    """Turns what a wrong value raises, when something is built from a config, into a UserError.

    Args:
        key: of the config.
    """
    try:
        yield
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{key}: cannot be built from the config ({error})") from error
