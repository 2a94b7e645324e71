"""The progress bar of all commands, with what is under way, how much is done, and the time left."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def bar(hidden: bool = False) -> Progress:
    """Makes a rich ``Progress`` with the columns that all commands have.

    Args:
        hidden: whether nothing is shown, because something else reports the progress.
    """
    name = TextColumn("{task.description}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=hidden)
