"""The bar that is shown only if something takes long."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ibnseg.support import progress


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What bars print."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    return text


def test_nothing_is_printed_for_what_is_done_soon(shown: io.StringIO) -> None:
    assert list(progress.with_bar_if_long("abc", 3, "Reading")) == ["a", "b", "c"]
    assert list(progress.with_bar_if_long([], 0, "Reading")) == []
    assert shown.getvalue() == ""


def test_a_bar_shows_how_much_is_done_once_it_takes_long(shown, monkeypatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    assert list(progress.with_bar_if_long("abc", 3, "Reading")) == ["a", "b", "c"]
    assert "Reading" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_a_hidden_bar_prints_nothing(shown, monkeypatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    assert list(progress.with_bar_if_long("abc", 3, "Reading", hidden=True)) == ["a", "b", "c"]
    assert shown.getvalue() == ""


def test_a_task_with_a_unit_shows_its_speed(shown) -> None:
    with progress.bar() as bar:
        task = bar.add_task("clip.mp4", total=3, unit="frames")
        for _ in range(3):
            bar.advance(task)
    assert re.search(r"\d+\.\d frames/s", shown.getvalue())
    with progress.bar() as bar:
        bar.add_task("plain", total=1, completed=1)
    assert "/s" not in shown.getvalue().partition("plain")[2]
