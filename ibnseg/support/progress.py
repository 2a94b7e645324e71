"""The progress bar of all commands, with what is under way, how much is done, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from ibnseg.support.terminal import visible


class _Name(ProgressColumn):
    """What is under way, such as a file's name; nothing in it is taken for markup."""

    def render(self, task: Task) -> Text:
        return Text(visible(task.description))


class _Speed(ProgressColumn):
    """How many of a task's units are done a second, if the task has the field ``unit``."""

    def render(self, task: Task) -> Text:
        unit, speed = task.fields.get("unit"), task.finished_speed or task.speed
        return Text(f"{speed:.1f} {unit}/s" if unit and speed else "")


T = TypeVar("T")

PATIENCE = 2.0
"""The seconds after which :func:`with_bar_if_long` shows its bar."""


def bar(hidden: bool = False) -> Progress:
    """Makes a rich ``Progress`` with the columns that all commands have.

    A task with the field ``unit``, e.g. ``add_task(name, total=9, unit="frames")``, shows its speed
    in units a second, too.

    Args:
        hidden: whether nothing is shown, because something else reports the progress.
    """
    columns = (_Name(), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    return Progress(*columns, disable=hidden)


def with_bar_if_long(
    items: Iterable[T], total: int, description: str, hidden: bool = False
) -> Iterator[T]:
    """Passes items on, and shows a bar once that has taken longer than ``PATIENCE``.

    Args:
        items: what is passed on.
        total: their number.
        description: what the bar says is under way.
        hidden: whether nothing is shown at all.
    """
    begin, progress = time.monotonic(), bar(hidden)
    task = progress.add_task(description, total=total)
    try:
        for item in items:
            yield item
            progress.advance(task)
            if not progress.live.is_started and time.monotonic() - begin > PATIENCE:
                progress.start()
    finally:
        if progress.live.is_started:
            progress.stop()
