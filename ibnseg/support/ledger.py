"""The ledger of work that may be interrupted: a file beside the results that says what the work is
and how much of it is done, so that the same command continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from ibnseg.support.differing import first_difference
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.reading import DAMAGED, MOST_JSON, read_bytes, read_npz
from ibnseg.support.terminal import say

Done = TypeVar("Done")


@dataclass(frozen=True)
class Ledger:
    """The file in which work that may be interrupted is recorded."""

    path: Path
    """The file: ``.json``, or ``.npz`` if it holds arrays."""
    what: str
    """What messages call the results, e.g. ``predictions``."""
    identity: Mapping[str, object]
    """Everything that decides the results, by key, in types that the file can hold."""
    schema: int | None = None
    """The version of the file's form, if it has one."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Values of keys that older files lack."""
    advice: str = "give another --out"
    """What the user can do if the file belongs to other work, for messages."""

    def read(self, parse: Callable[[dict], Done]) -> Done | None:
        """Reads what is done; None if there is no file yet.

        Args:
            parse: makes the result from the file's content; if it raises, the file is damaged.

        Raises:
            UserError: if the file is damaged, or belongs to work with another identity.
        """
        done, problem = self._read(parse)
        if problem:
            raise UserError(f"{self.path}: {problem}; {self.advice}")
        return done

    def read_or_restart(self, parse: Callable[[dict], Done]) -> Done | None:
        """Reads as :meth:`read` does, but a file that cannot be used is reported and ignored."""
        done, problem = self._read(parse)
        if problem:
            say(f"{self.path}: {problem}; starting anew")
        return done

    def write(self, **done: object) -> None:
        """Writes the file whole: the schema, the identity, and what is done, by key."""
        content = {} if self.schema is None else {"schema": self.schema}
        content |= {**self.identity, **done}
        with written_whole(self.path) as temporary:
            if self.path.suffix == ".npz":
                np.savez_compressed(temporary, **content)
            else:
                temporary.write_text(json.dumps(content, indent=1) + "\n")

    def _read(self, parse: Callable[[dict], Done]) -> tuple[Done | None, str | None]:
        """What is done, or None; and what is wrong with the file, or None."""
        if not self.path.exists():
            return None, None
        try:
            content = self._content()
            if self.schema is not None and content["schema"] != self.schema:
                return None, f"schema {content['schema']}, expected {self.schema}"
            found = {**self.defaults, **content.get("identity", content)}
            for key, value in self.identity.items():
                if not _same(found[key], value):
                    name, *both = first_difference(key, found[key], value)
                    was, now = map(_short, both)
                    return None, f"holds {self.what} with {name} {was}, not {now}"
            return parse(content), None
        except DAMAGED as error:
            return None, f"damaged ({error!r})"

    def _content(self) -> dict:
        if self.path.suffix == ".npz":
            return read_npz(self.path)
        return dict(json.loads(read_bytes(self.path, MOST_JSON)))


def _same(found: object, value: object) -> bool:
    return np.array_equal(found, value) if isinstance(found, np.ndarray) else found == value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def stamp(path: Path) -> str:
    """Describes a file by its size and time of change, which differ once it has changed.

    Raises:
        OSError: if there is no such file.
    """
    stat = path.stat()
    return f"{stat.st_size} bytes of {stat.st_mtime_ns} ns"


def begin(
    ledger: Ledger, stamps: Mapping[str, str], outputs: Mapping[str, Sequence[Path]]
) -> list[str]:
    """Records the inputs of work that begins, and returns the names of those that are not done.

    The outputs of inputs that have changed are removed before the new stamps are recorded.

    Args:
        ledger: the ledger in the folder of the outputs.
        stamps: the :func:`stamp` of each input, by the input's name.
        outputs: the files and folders that each input results in, by the input's name; an input is
            done if all of them exist.

    Raises:
        UserError: if the ledger belongs to other work, or there is an output of an input that it
            does not list.
    """
    recorded = ledger.read(recorded_stamps) or {}
    left = []
    for name, now in stamps.items():
        there = [path for path in outputs[name] if path.exists()]
        if there and name not in recorded:
            raise UserError(
                f"{there[0]} exists and is not listed in {ledger.path.name}; {ledger.advice}"
            )
        has_changed = recorded.get(name, now) != now
        if has_changed or len(there) < len(outputs[name]):
            left.append(name)
        for path in there if has_changed else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    ledger.write(images=recorded | dict(stamps))
    return left


def recorded_stamps(content: Mapping) -> dict[str, str]:
    """Takes the stamps, by the inputs' names, out of what :func:`begin` has written."""
    return dict(content["images"])
