"""Many cases of one fact in one test: a failure names the case that it is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def case(**values: object) -> Iterator[None]:
    """Whatever fails inside is reported with these values, such as ``variant='a'``."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        named = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise AssertionError(f"{named}: {error}") from error
