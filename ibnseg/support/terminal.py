"""Text for the terminal: what titles and files' names hold never reaches it as a command."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from typing import TextIO

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but for tab and new line; they begin escapes
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the order in which text is shown
    "\ud800-\udfff]"  # bytes of a file's name that are not UTF-8
)
"""Matches a character that changes how a terminal shows text, or that it cannot show."""


def visible(text: object) -> str:
    r"""Returns a text in which control characters are written out, e.g. ``\x1b`` for an escape.

    So a name can neither change the terminal nor hide what follows. Tabs and new lines stay.
    """
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], str(text))


def say(text: object, file: TextIO | None = None) -> None:
    """Prints a text, :func:`visible`, at once; to standard output unless ``file`` is given."""
    print(visible(text), file=file or sys.stdout, flush=True)


def clean_logs() -> None:
    """Makes what is logged from now on :func:`visible`, in the terminal as in the log's file."""
    make = logging.getLogRecordFactory()
    if getattr(make, "is_clean", False):
        return

    def make_clean(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        with suppress(TypeError, ValueError):  # of a message that does not fit its arguments
            record.msg, record.args = visible(record.getMessage()), ()
        return record

    make_clean.is_clean = True
    logging.setLogRecordFactory(make_clean)
