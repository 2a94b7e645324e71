"""The one exception that a user is meant to read: a line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
import re
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
        unknown = _UNREGISTERED.match(str(error.args[0]) if error.args else "")
        if unknown:
            raise UserError(f"{key}: {_unknown_type(*unknown.groups())}") from error
        raise UserError(f"{key}: cannot be built from the config ({error})") from error


_UNREGISTERED = re.compile(r"(\S+) is not in the (?:\w+::)?([\w ]+) registry")
"""How mmengine says that a config's type is unknown."""


def _unknown_type(name: str, kind: str) -> str:
    known = _types(kind)
    if difflib.get_close_matches(name, known, cutoff=0.5):
        return str(unknown_name("type", name, known))
    return f"unknown type '{name}'; is the module that registers it in custom_imports?"


def _types(kind: str) -> set[str]:
    """The types of a kind of mmengine's, e.g. ``"hook"``, those of other scopes after the scope."""
    from mmengine import registry

    found: set[str] = set()
    roots = [each for each in vars(registry).values() if isinstance(each, registry.Registry)]
    waiting = [each for each in roots if each.name == kind]
    while waiting:
        each = waiting.pop()
        scope = "" if each.scope in ("mmengine", "mmseg") else f"{each.scope}."
        found |= {scope + name for name in each.module_dict}
        waiting += each.children.values()
    return found
