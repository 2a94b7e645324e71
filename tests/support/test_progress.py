"""The bar that is shown only if something takes long."""

from __future__ import annotations

import io

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
