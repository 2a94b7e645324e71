"""The one exception that a user is meant to read: a line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.error import URLError


class UserError(Exception):
    """Wrong input of a user: the message names the file or key, and says what was found, what was
    expected and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Makes the error for a name that is not in a table; it suggests the nearest names, or all if
    none is near.

    Args:
        kind: what the name should be, e.g. ``config``.
        name: the unknown name.
        known: the names in the table.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")


@contextmanager
def building(key: str) -> Iterator[None]:
    """Turns the errors of building something from a wrong config into a UserError.

    Args:
        key: the config's key that is built, for the message.

    Raises:
        UserError: if the type is unknown, or the arguments do not fit it.
    """
    try:
        yield
    except (UserError, URLError, MemoryError):
        raise
    except Exception as error:  # whatever a constructor does with a wrong argument
        unknown = _UNREGISTERED.match(str(error.args[0]) if error.args else "")
        if unknown:
            raise UserError(f"{key}: {_unknown_type(*unknown.groups())}") from error
        raise UserError(f"{key}: cannot be built from the config ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The first line of what an error says; for an assertion that says nothing, the assertion."""
    said = str(error).strip()
    return said.splitlines()[0] if said else traceback.extract_tb(error.__traceback__)[-1].line


_UNREGISTERED = re.compile(r"(\S+) is not in the (?:\w+::)?([\w ]+) registry")
"""Matches mmengine's message for an unknown type in a config: the type, and the registry's name."""


def _unknown_type(name: str, kind: str) -> str:
    known = _types(kind)
    if difflib.get_close_matches(name, known, cutoff=0.5):
        return str(unknown_name("type", name, known))
    return f"unknown type '{name}'; is the module that registers it in custom_imports?"


def _types(kind: str) -> set[str]:
    """The types in all registries of a kind, e.g. ``"hook"``, with the scope in front unless it is
    mmengine's or mmseg's."""
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
