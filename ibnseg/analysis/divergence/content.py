"""Reads a query for classes, e.g. ``car and not person``, and says which classes an image has."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

import numpy as np

from ibnseg.support.errors import UserError, unknown_name

OPERATORS = ("and", "or", "not")
TOKEN = re.compile(r"""\s*(?:(?P<mark>[()])|"(?P<name>[^"]+)"|'(?P<other>[^']+)'|(?P<word>\w+))""")


def parse_query(text: str, classes: Sequence[str]) -> Callable[[np.ndarray], bool]:
    """Makes a function that says whether an image has the classes that a query asks for.

    Args:
        text: names of classes with ``and``, ``or``, ``not`` and parentheses, which bind as in
            Python. A name of several words has spaces or underscores, or is in quotes.
        classes: the names of the K classes.

    Returns:
        A function that takes (K,) bool, whether the image has each class, and returns a bool.

    Raises:
        UserError: for a query that cannot be read, and for an unknown class.
    """
    expression = []
    for token in _tokens(text):
        if token in OPERATORS or token in "()":
            expression.append(token)
        elif token in classes:
            expression.append(f"c{list(classes).index(token)}")
        else:
            raise unknown_name("class in --content", token, classes)
    try:
        tree = ast.parse(" ".join(expression), mode="eval").body
    except SyntaxError:
        tree = None
    if not _is_boolean(tree):  # "car (bus)" parses, as a call
        raise _unreadable(text)
    return lambda present: _evaluate(tree, present)


def _tokens(text: str) -> list[str]:
    """Splits a query into operators, parentheses and names; words that follow each other are one
    name."""
    tokens, at, words = [], 0, []
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text)
        at, word = match.end(), match["word"]
        if word and word not in OPERATORS:
            words.append(word.replace("_", " "))
            continue
        tokens += [" ".join(words)] if words else []
        words = []
        tokens.append(next(part for part in match.groups() if part))
    return tokens + ([" ".join(words)] if words else [])


def _unreadable(text: str) -> UserError:
    return UserError(
        f"--content '{text}': cannot be read; expected classes with and, or, not and parentheses, "
        "e.g. 'car and not (person or traffic light)'"
    )


def _is_boolean(node: ast.AST | None) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(map(_is_boolean, node.values))
    if isinstance(node, ast.UnaryOp):
        return _is_boolean(node.operand)
    return isinstance(node, ast.Name)


def _evaluate(node: ast.AST, present: np.ndarray) -> bool:
    if isinstance(node, ast.BoolOp):
        combine = all if isinstance(node.op, ast.And) else any
        return combine(_evaluate(value, present) for value in node.values)
    if isinstance(node, ast.UnaryOp):
        return not _evaluate(node.operand, present)
    return bool(present[int(node.id[1:])])


def classes_present(train_ids: np.ndarray, count: int, min_share: float) -> np.ndarray:
    """Says which classes an image has.

    Args:
        train_ids: (H, W) uint8; pixels with an id of ``count`` or more are left out.
        count: the number K of classes.
        min_share: the least share of the other pixels that a class must cover, in [0, 1]; a class
            without pixels is never there.

    Returns:
        (K,) bool.
    """
    pixels = np.bincount(train_ids.ravel(), minlength=count)[:count]
    return (pixels > 0) & (pixels >= min_share * pixels.sum())
