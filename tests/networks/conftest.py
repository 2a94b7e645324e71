"""What the tests of pushed and pulled networks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg import cli

Trained = tuple[Path, Path, dict]


@pytest.fixture(scope="session")
def shared(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that ``push`` wrote of the trained run; not to be changed."""
    out = tmp_path_factory.mktemp("shared") / "tiny"
    assert cli.main(["push", str(trained[1]), "--out", str(out), "--licence", "mit"]) == 0
    return out
