"""The bar of all commands: what is under way, how much of it is done, and the time left."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def bar(hidden: bool = False) -> Progress:
    """A rich ``Progress`` in the house's columns.

    Args:
        hidden: whether nothing is shown, because something else reports the progress.
    """
    name = TextColumn("{task.description}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=hidden)
