"""Reads a run's config as data: nothing in it is executed."""

from __future__ import annotations

import ast
from pathlib import Path

from ibnseg.support.errors import UserError
from ibnseg.support.reading import read_text


def read_config_data(path: str | Path) -> dict:
    """Reads the values of a ``config.py`` as mmengine writes it.

    It consists of assignments of numbers, texts, lists, tuples, sets and dicts, also as
    ``dict(key=value)`` and ``dict({key: value})``.

    Args:
        path: the file.

    Returns:
        Values by name.

    Raises:
        UserError: if the file cannot be read, or holds anything else. Code is never executed.
    """
    path = Path(path)
    try:
        tree = ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: not a config ({error})") from error
    values = {}
    for statement in tree.body:
        try:
            (target,) = statement.targets
            values[target.id] = _value(statement.value)
        except (AttributeError, ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: line {statement.lineno} is not plain data, and a run that is only "
                "compared is not executed"
            ) from error
    return values


def read_value(text: str) -> object:
    """Reads the value of a text such as ``[dict(type='EMAHook')]``; nothing in it is executed.

    Raises:
        ValueError: if the text is not plain data.
    """
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"'{text}' is not plain data") from error


def _value(node: ast.expr) -> object:
    match node:
        case ast.Dict():
            keys, values = map(_value, node.keys), map(_value, node.values)
            return dict(zip(keys, values, strict=True))
        case ast.Call(func=ast.Name(id="dict"), args=[] | [ast.Dict()], keywords=keywords) if all(
            keyword.arg for keyword in keywords
        ):
            given = {keyword.arg: _value(keyword.value) for keyword in keywords}
            return {key: each for part in node.args for key, each in _value(part).items()} | given
        case ast.Call(func=ast.Name(id="set"), args=[]):
            return set()
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))]):
            return float(text)
        case ast.Name(id="inf" | "nan"):
            return float(node.id)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
            return -float("inf")
        case ast.List() | ast.Tuple() | ast.Set():
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return kind(map(_value, node.elts))
    return ast.literal_eval(node)
