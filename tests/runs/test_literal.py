"""A run's config read as data."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mmengine.config import Config

from ibnseg.runs.literal import read_config_data, read_value
from ibnseg.support.errors import UserError
from tests.support.refusals import refused


def test_what_mmengine_dumps_is_read_back(tmp_path: Path) -> None:
    values = dict(
        a=1,
        b=-0.5,
        c="it's",
        d=[1, (2, 3), None, True],
        e={"with-dash": dict(x=(1,)), 3: []},
        f=dict(end=1e300, name="x"),
    )
    Config(values).dump(tmp_path / "config.py")
    assert read_config_data(tmp_path / "config.py") == values


def test_infinite_numbers_are_read() -> None:
    assert read_value("[inf, -inf, float('inf')]") == [math.inf, -math.inf, math.inf]
    assert math.isnan(read_value("nan"))


EXECUTED = (
    "import os",
    "a = open('{}', 'w')",
    "a = [open('{}', 'w') for _ in '1']",
    "a = dict(**dict(b=1))",
    "a = dict([('b', 1)])",
    "a = dict({{'b': open('{}', 'w')}})",
    "a = dict({{'b': 1}}, {{'c': 2}})",
    "a = float(__import__('os').getpid())",
    "a = f'{{1}}'",
    "a = 1 if True else 2",
    "a, b = 1, 2",
    "a.b = 1",
    "with read_base():\n    from .other import *",
    "def f(): pass",
    "open('{}', 'w')",
)


def test_what_would_have_to_be_executed_is_refused_and_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    for text in EXECUTED:
        path.write_text("first = 1\n" + text.format(tmp_path / "written") + "\n")
        with pytest.raises(UserError, match="config.py: line 2 is not plain data"), refused(text):
            read_config_data(path)
        assert not (tmp_path / "written").exists(), text


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    for content in (b"batch = (", b"a = '\xff'", b"a = 1\0", b"a = " + b"[" * 5000 + b"]" * 5000):
        path.write_bytes(content)
        with (
            pytest.raises(UserError, match="config.py: .*(not a config|not plain data|not a text)"),
            refused(content[:20]),
        ):
            read_config_data(path)
    with pytest.raises(UserError, match="none.py: no such file"):
        read_config_data(tmp_path / "none.py")
