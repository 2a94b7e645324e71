"""Reads configs as data: nothing in them is executed."""

from __future__ import annotations

import ast
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ibnseg.support.configs import find_base
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
    values = {}
    for statement in _statements(path):
        try:
            (target,) = statement.targets
            values[target.id] = _value(statement.value)
        except (AttributeError, ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: line {statement.lineno} is not plain data, and a run that is only "
                "compared is not executed"
            ) from error
    return values


def values_in(text: str, names: Collection[str]) -> dict:
    """Reads some values of a config's text; those that are not plain data are left out.

    Nothing in it is executed, and a text that is no config has no values.
    """
    values = {}
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return values
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in names:
                with suppress(AttributeError, TypeError, ValueError, RecursionError):
                    values[name] = _value(value)
    return values


def read_some_values(path: str | Path, names: Collection[str]) -> dict:
    """Reads some values of a config and of the files that its ``_base_`` names.

    Args:
        path: the config.
        names: the names of the values.

    Returns:
        Those of the values that are set, by name.

    Raises:
        UserError: if one of the files cannot be read, or holds statements that may do more than
            give values to names; if one of the values is not plain data, or is set by several of
            the files, whose values mmengine would merge.
    """
    try:
        return _with_bases(Path(path), {*names})
    except RecursionError as error:
        raise UserError(f"{path}: is nested too deeply, or its bases name each other") from error


def _with_bases(path: Path, names: set[str]) -> dict:
    values = {}
    for statement in _statements(path):
        try:
            values |= _values_set(statement, {*names, "_base_"})
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{path}: line {statement.lineno} is not plain data") from error
    bases = values.pop("_base_", [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            raise UserError(f"{path}: _base_ is {bases!r}, expected paths")
        further = _with_bases(find_base(base, path), names)
        if values.keys() & further.keys():
            raise UserError(f"{path}: has values that are merged with those of {base}")
        values |= further
    return values


def _values_set(statement: ast.stmt, names: set[str]) -> dict:
    """The values that a statement gives to some names.

    Raises:
        AttributeError, TypeError, ValueError: if it may do more than give values to names, or a
            value is not plain data.
    """
    for node in ast.walk(statement):
        is_dict = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if not (isinstance(node, _HARMLESS) or (is_dict and node.func.id == "dict")):
            raise ValueError("more than data")
        if isinstance(node, ast.Constant) and "{{" in str(node.value):
            raise ValueError("a placeholder, which mmengine fills in")
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return {name: _value(value)} if name in names else {}
        case ast.AugAssign(target=ast.Name(id=name)) | ast.Delete(targets=[ast.Name(id=name)]):
            if name not in names:
                return {}
    raise ValueError("more than an assignment")


_HARMLESS = (
    ast.Assign,
    ast.AugAssign,
    ast.Delete,
    ast.Constant,
    ast.Name,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.BinOp,
    ast.UnaryOp,
    ast.keyword,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)
"""The parts of statements that only give values to names, besides calls of ``dict``."""


def _statements(path: str | Path) -> list[ast.stmt]:
    try:
        return ast.parse(read_text(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: not a config ({error})") from error


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
