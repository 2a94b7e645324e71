"""The kinds of values that config keys take: each a test, and words for error messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ibnseg.support.files import stays_inside

MOST = 2**31 - 1
"""The largest count."""

LARGEST_SIDE = 2**14
"""The most pixels that a side of a crop, a window or a resized image may have."""

SMALLEST_SCALE, LARGEST_SCALE = 0.1, 10
"""Bounds of the factors by which images are resized."""

PRECISIONS = ("float32", "bfloat16")
"""The precisions in which networks are trained, tested and predict."""

AUTO = "auto"
"""The value of a key that stands for what is fastest on the device."""


class Kind(NamedTuple):
    """What the value of a key has to be."""

    accepts: Callable[[object], bool]
    """Whether a value is of this kind."""
    words: str
    """What is expected, for the error message about another value."""


def is_number(value: object) -> bool:
    """Whether a value is a finite number; True and False are not numbers."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) < math.inf


def is_whole(value: object, least: int, most: int = MOST) -> bool:
    """Whether a value is a whole number from ``least`` to ``most``."""
    return is_number(value) and isinstance(value, int) and least <= value <= most


def is_list(value: object) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, (list, tuple))


def as_list(value: object) -> object:
    """Makes a list of a single name; anything else, such as a list of names, stays as it is."""
    return [value] if isinstance(value, str) else value


def is_size(value: object) -> bool:
    """Whether a value is a list or tuple of two sides in pixels, 1 to ``LARGEST_SIDE`` each."""
    return is_list(value) and len(value) == 2 and all(is_whole(x, 1, LARGEST_SIDE) for x in value)


def is_scale(value: object) -> bool:
    """Whether a value is a factor that leaves pixels of an image, and not too many."""
    return is_number(value) and SMALLEST_SCALE <= value <= LARGEST_SCALE


def is_text(value: object) -> bool:
    """Whether a value is a text that is not empty."""
    return isinstance(value, str) and value.strip() != ""


def is_texts(value: object) -> bool:
    """Whether a value is a list or tuple of texts, which may have no element."""
    return is_list(value) and all(map(is_text, value))


def is_typed(value: object) -> bool:
    """Whether a value is a dict with the name of a type."""
    return isinstance(value, Mapping) and is_text(value.get("type"))


def _is_names(value: object) -> bool:
    return is_text(value) or (is_texts(value) and len(value) > 0)


def _is_bounds(value: object) -> bool:
    return is_list(value) and len(value) == 2 and all(map(is_scale, value)) and value[0] <= value[1]


def _is_scales(value: object) -> bool:
    return is_list(value) and all(map(is_scale, value)) and len(set(value)) == len(value)


def _is_shares(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and all(is_number(share) and share > 0 for share in value.values())
        and abs(sum(value.values()) - 1) < 1e-6
    )


def one_of(*values: object) -> Kind:
    """Makes a kind that accepts these values alone."""
    return Kind(
        lambda value: any(type(value) is type(each) and value == each for each in values),
        " or ".join(map(repr, values)),
    )


def whole(least: int, most: int, words: str = "") -> Kind:
    """Makes a kind that accepts whole numbers from ``least`` to ``most``."""
    words = words or f"a whole number from {least} to {most}"
    return Kind(lambda value: is_whole(value, least, most), words)


def or_none(kind: Kind) -> Kind:
    """Makes a kind that accepts None besides what another one accepts."""
    return Kind(lambda value: value is None or kind.accepts(value), f"{kind.words}, or None")


COUNT = whole(1, MOST, "a whole number above 0 and below 2^31")
WHOLE = whole(0, MOST, "a whole number, 0 or more and below 2^31")
IMAGES = whole(1, 2**16)
PROCESSES = whole(0, 2**10)
SEED = whole(0, 2**32 - 1, "a whole number from 0 to 2^32 - 1")
POWER = Kind(lambda value: is_number(value) and 0 < value <= 100, "a number above 0, at most 100")
FRACTION = Kind(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
BOUNDS = Kind(_is_bounds, f"(least, most), numbers from {SMALLEST_SCALE} to {LARGEST_SCALE}")
SIZE = Kind(is_size, f"(height, width), whole numbers from 1 to {LARGEST_SIDE}")
RESIZE = Kind(
    lambda value: value is None or value == "domain" or is_size(value),
    f"'domain', None, or (width, height), whole numbers from 1 to {LARGEST_SIDE}",
)
NAME = Kind(is_text, "a name, in quotes if it is a number: \"'18'\"")
FILE_NAME = Kind(
    lambda value: is_text(value) and stays_inside(value),
    "a short name without '..' or a leading slash, because the run's folder is called by it; in "
    "quotes if it is a number: \"'18'\"",
)
PATH = Kind(is_text, "a path")
NAMES = Kind(_is_names, "a name, or a list of names")
DIFFERENT = Kind(
    lambda value: _is_names(value) and (isinstance(value, str) or len(set(value)) == len(value)),
    "a name, or a list of different names",
)
TEXTS = Kind(is_texts, "a list of names")
SWITCH = Kind(lambda value: isinstance(value, bool), "True or False")
FILES = Kind(
    lambda value: isinstance(value, Mapping) and all(map(is_text, value.values())),
    "a dict of files by names",
)
DICT = Kind(lambda value: isinstance(value, Mapping), "a dict")
TYPED = Kind(is_typed, "a dict with type")
TYPED_LIST = Kind(
    lambda value: is_list(value) and all(map(is_typed, value)), "a list of dicts with type"
)
SCALES = Kind(
    _is_scales,
    f"a list of different numbers from {SMALLEST_SCALE} to {LARGEST_SCALE}, empty for no test-time "
    "augmentation",
)
SHARES = Kind(_is_shares, "a dict of domains to shares that sum to 1")
