"""The kinds of values that config keys take: each a test, and words for error messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """What the value of a key has to be."""

    accepts: Callable[[object], bool]
    """Whether a value is of this kind."""
    words: str
    """What is expected, for the error message about another value."""


def is_number(value: object) -> bool:
    """Whether a value is a number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: object, least: int) -> bool:
    """Whether a value is a whole number, ``least`` or more."""
    return is_number(value) and isinstance(value, int) and value >= least


def is_list(value: object) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, (list, tuple))


def as_list(value: object) -> object:
    """Makes a list of a single name; anything else, such as a list of names, stays as it is."""
    return [value] if isinstance(value, str) else value


def is_pair(value: object, kind: type | tuple[type, ...] = int) -> bool:
    """Whether a value is a list or tuple of two numbers above 0, both of a type ``kind``."""
    return (
        is_list(value)
        and len(value) == 2
        and all(is_number(x) and isinstance(x, kind) and x > 0 for x in value)
    )


def is_texts(value: object) -> bool:
    """Whether a value is a list or tuple of texts, which may be empty."""
    return is_list(value) and all(isinstance(each, str) for each in value)


def _is_names(value: object) -> bool:
    return isinstance(value, str) or (is_texts(value) and len(value) > 0)


def _is_typed(value: object) -> bool:
    return isinstance(value, Mapping) and "type" in value


def _is_scales(value: object) -> bool:
    positive = is_list(value) and all(is_number(each) and each > 0 for each in value)
    return positive and len(set(value)) == len(value)


def _is_shares(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and all(is_number(share) and share > 0 for share in value.values())
        and abs(sum(value.values()) - 1) < 1e-6
    )


def one_of(*values: object) -> Kind:
    """Makes a kind that accepts these values alone."""
    return Kind(lambda value: value in values, " or ".join(map(repr, values)))


def whole(least: int, words: str) -> Kind:
    """Makes a kind that accepts whole numbers, ``least`` or more."""
    return Kind(lambda value: is_whole(value, least), words)


def or_none(kind: Kind) -> Kind:
    """Makes a kind that accepts None besides what another one accepts."""
    return Kind(lambda value: value is None or kind.accepts(value), f"{kind.words}, or None")


COUNT = whole(1, "a whole number above 0")
WHOLE = whole(0, "a whole number, 0 or more")
SEED = Kind(lambda v: is_whole(v, 0) and v < 2**32, "a whole number from 0 to 2^32 - 1")
POSITIVE = Kind(lambda value: is_number(value) and value > 0, "a number above 0")
FRACTION = Kind(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
BOUNDS = Kind(
    lambda value: is_pair(value, (int, float)) and value[0] <= value[1],
    "(least, most), numbers above 0",
)
SIZE = Kind(is_pair, "(height, width), whole numbers above 0")
NAME = Kind(lambda value: isinstance(value, str), "a name")
PATH = Kind(lambda value: isinstance(value, str), "a path")
NAMES = Kind(_is_names, "a name, or a list of names")
DIFFERENT = Kind(
    lambda value: _is_names(value) and (isinstance(value, str) or len(set(value)) == len(value)),
    "a name, or a list of different names",
)
TEXTS = Kind(is_texts, "a list of names")
SWITCH = Kind(lambda value: isinstance(value, bool), "True or False")
DICT = Kind(lambda value: isinstance(value, Mapping), "a dict")
TYPED = Kind(_is_typed, "a dict with type")
TYPED_LIST = Kind(
    lambda value: is_list(value) and all(map(_is_typed, value)), "a list of dicts with type"
)
SCALES = Kind(
    _is_scales, "a list of different numbers above 0, empty for no test-time augmentation"
)
SHARES = Kind(_is_shares, "a dict of domains to shares that sum to 1")
