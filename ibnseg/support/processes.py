"""Processes that belong together: a child ends with its parent, and if one of several is lost, the
others say so in one line."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ibnseg.support.errors import UserError

_ENDS_WITH_STDIN = "IBNSEG_ENDS_WITH_STDIN"


def tied_to_stdin() -> dict[str, str]:
    """Returns the environment of a child that is to end with this process, however that ends; the
    child's standard input has to be a pipe of this process, to which nothing is written.

    The child calls :func:`end_with_stdin`.
    """
    return {**os.environ, _ENDS_WITH_STDIN: "1"}


def end_with_stdin() -> None:
    """Lets this process end with its parent, if that has asked for it with
    :func:`tied_to_stdin`."""
    if os.environ.pop(_ENDS_WITH_STDIN, None):  # children of this process are not meant
        _end_after(lambda: os.read(0, 1))


def end_with_parent() -> None:
    """Lets a process that :mod:`multiprocessing` has started end with its parent; otherwise the
    workers of a pool wait forever if their parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_after(parent.join)


def _end_after(wait: Callable[[], object]) -> None:
    """Ends this process without further ado when a call returns; files are whole at any time."""

    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_LOADER = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: ([\w ]+)|exited)")
_NO_SHARED_MEMORY = re.compile(r"unable to (?:allocate shared memory|write to file </torch_)")
_PEER = re.compile(r"gloo/\S+\] (.*?)(?:\. |$)|Connection (?:closed|reset) by peer")


@contextmanager
def losses_in_one_line(workers: str = "--cfg-options workers=0") -> Iterator[None]:
    """Turns the loss of a loader's worker, or of another process of the group, into a UserError.

    Args:
        workers: how the user sets the number of workers, for the message.

    Raises:
        UserError: what was lost, and what to do.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        message = _loss(error, workers)
        if message is None:
            raise
        raise UserError(message) from error


def _loss(error: Exception, workers: str) -> str | None:
    text = str(error) if isinstance(error, RuntimeError) else ""
    advice = f"free some, or set fewer workers, e.g. {workers}"
    if _NO_SHARED_MEMORY.search(text):
        return f"a worker that loads images found no room in shared memory (/dev/shm); {advice}"
    killed = _LOADER.search(text)
    if killed or _comes_from_worker(error):
        how = f"was killed ({killed[1]})" if killed and killed[1] else "has ended"
        return (
            f"a worker that loads images {how}, probably because the memory or the shared memory "
            f"(/dev/shm) is full; {advice}"
        )
    lost = _PEER.search(text)
    if lost or any(kind.__name__ == "DistError" for kind in type(error).__mro__):
        what = (lost[1] or lost[0]) if lost else text.strip().partition("\n")[0]
        return (
            f"another process of this command has ended or cannot be reached ({what}); its own "
            "message says why; train and test go on with --resume, predict and submit without it"
        )
    return None


def _comes_from_worker(error: Exception) -> bool:
    """Whether an error was raised while torch received an image from a worker: that is how the
    worker's end looks if it comes in between."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    receiving = "torch.multiprocessing.reductions"
    return any(frame.f_globals.get("__name__") == receiving for frame in frames)
