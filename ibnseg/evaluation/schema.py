"""What a results file has to hold: the keys of each part, and what their values have to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ibnseg.support.files import stays_inside


class Expected(NamedTuple):
    """What a value has to be."""

    words: str
    accepts: Callable[[object], bool]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _or_null(kind: Expected) -> Expected:
    return Expected(f"{kind.words} or null", lambda value: value is None or kind.accepts(value))


def _each(kind: Expected) -> Expected:
    return Expected(
        f"for each name {kind.words}",
        lambda value: isinstance(value, dict) and all(map(kind.accepts, value.values())),
    )


def _is_recipe(value: object) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("hash"), str) and isinstance(value.get("values"), dict)
    return isinstance(value, str)


TEXT = Expected("a text", lambda value: isinstance(value, str))
TEXTS = Expected("a list of texts", _is_texts)
WHOLE = Expected("a whole number", lambda value: type(value) is int)
COUNT = Expected("a whole number of at least 0", lambda value: type(value) is int and value >= 0)
NUMBER = Expected("a number", _is_number)
FRACTION = Expected("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
OBJECT = Expected("an object", lambda value: isinstance(value, dict))
LIST = Expected("a list", lambda value: isinstance(value, list))
FILE = Expected(
    "the path of a file in the run's folder",
    lambda value: isinstance(value, str) and stays_inside(value),
)
RECIPE = Expected("a text, or hash and values", _is_recipe)

PARTS: dict[str, dict[str, Expected]] = {
    "results": dict(run=OBJECT, tests=LIST, domains=OBJECT, metrics=OBJECT),
    "run": dict(
        name=TEXT,
        model=TEXT,
        title=TEXT,
        train_domain=TEXT,
        checkpoint_sha256=TEXT,
        seed=_or_null(WHOLE),
        iteration=_or_null(WHOLE),
    ),
    "test": dict(
        domain=TEXT,
        split=TEXT,
        protocol=OBJECT,
        images=COUNT,
        skipped=TEXTS,
        classes=TEXTS,
        eval_classes=TEXTS,
        mIoU=_or_null(FRACTION),
        pixel_accuracy=_or_null(FRACTION),
        iou=_each(_or_null(FRACTION)),
        metrics=_each(_or_null(NUMBER)),
        confusion=LIST,
        counts=OBJECT,
        per_image=_or_null(FILE),
        checkpoint_sha256=TEXT,
    ),
    "protocol": dict(name=TEXT, version=WHOLE, inference=TEXT),
    "domain": dict(title=TEXT, group=TEXT),
    "metric": dict(title=TEXT, unit=TEXT),
}
"""The keys of each part and the kinds of their values."""

IF_THERE: dict[str, dict[str, Expected]] = {
    "run": dict(recipe=_or_null(RECIPE), train_domains=_or_null(TEXTS), selected_on=_or_null(TEXT)),
    "test": dict(without=TEXTS),
}
"""The keys that only some files have, and the kinds of their values."""

IDENTITY = ("checkpoint_sha256", "domain", "split", "protocol")
"""The keys that say which test a record is of."""

_MOST = 2**62
"""The most pixels that a test may count, so that no sum is too large for 64 bits."""


def problem_in(results: Mapping) -> str | None:
    """Says what is wrong with the content of a results file of schema 2; None if nothing is.

    Every part has to have its keys, with values of their kinds. A test has to have an IoU for each
    class, average some of them, count pixels as a square matrix, and occur once.
    """
    for where, part, name in _parts(results):
        if not isinstance(part, dict):
            return f"{where.removesuffix('.')} is not an object"
        optional = {key: kind for key, kind in IF_THERE.get(name, {}).items() if key in part}
        for key, kind in (PARTS[name] | optional).items():
            if key not in part:
                return f"{where}{key} is missing, expected {kind.words}"
            if not kind.accepts(part[key]):
                return f"{where}{key} is {_short(part[key])}, expected {kind.words}"
    tests = results["tests"]
    seen: list[list] = []
    for i, test in enumerate(tests):
        problem = _problem_in_test(test)
        if problem:
            return f"tests[{i}].{problem}"
        identity = [test[key] for key in IDENTITY]
        if identity in seen:
            return f"tests[{i}] is there twice"
        seen.append(identity)
    return None


def _parts(results: Mapping) -> Iterator[tuple[str, object, str]]:
    """The parts of results, each with its place and the name of its table; a part comes after the
    one it is in."""
    yield "", results, "results"
    yield "run.", results["run"], "run"
    for i, test in enumerate(results["tests"]):
        yield f"tests[{i}].", test, "test"
        yield f"tests[{i}].protocol.", test["protocol"], "protocol"
    for key, table in (("domains", "domain"), ("metrics", "metric")):
        for name, part in results[key].items():
            yield f"{key}.{name}.", part, table


def _problem_in_test(test: Mapping) -> str | None:
    classes = test["classes"]
    if not classes or len(set(classes)) < len(classes):
        return f"classes is {_short(classes)}, expected different names"
    if test["iou"].keys() != set(classes):
        return "iou is not of its classes"
    if not set(test["eval_classes"]) <= set(classes):
        return "eval_classes are not among its classes"
    counted = _array(test["confusion"])
    if (
        counted is None
        or counted.dtype.kind != "i"
        or counted.shape != (len(classes),) * 2
        or counted.min() < 0
        or counted.sum(dtype=np.float64) >= _MOST
    ):
        return f"confusion is not a matrix of {len(classes)}x{len(classes)} counts"
    for name, counts in test["counts"].items():
        array = _array(counts)
        if array is None or array.dtype.kind not in "if" or not np.isfinite(array).all():
            return f"counts.{name} is not an array of numbers"
    return None


def _array(values: Sequence) -> np.ndarray | None:
    try:
        return np.array(values)
    except (ValueError, OverflowError):  # of rows that differ in length
        return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
