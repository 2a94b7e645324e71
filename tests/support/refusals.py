"""Names the case of a loop that should have been refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refused(case: object) -> Iterator[None]:
    """Fails with the name of a case if the block below raises nothing."""
    yield
    pytest.fail(f"{case} was accepted")
