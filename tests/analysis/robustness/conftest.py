"""A run whose robustness has been measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg.analysis.robustness import report
from ibnseg.analysis.robustness.measure import measure_robustness

CHOSEN = ["RGB+50", "blur", "noise", "moments"]


@pytest.fixture(scope="session")
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes")}


@pytest.fixture(scope="session")
def measured(trained, roots, tmp_path_factory) -> tuple[Path, dict]:
    """The folder and the result of a run in two domains, 1 + 1 + 2 * 2 + 1 appearances."""
    out = tmp_path_factory.mktemp("robustness")
    return out, measure(trained[1], out, roots)


def measure(run: Path, out: Path, roots: dict, **kwargs) -> dict:
    chosen = dict(conditions=CHOSEN, severities=[5, 1], looks=["cityscapes"]) | kwargs
    return measure_robustness([run], ["gta5", "cityscapes"], out, roots=roots, **chosen)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures without the table and the pictures, which are slow."""
    monkeypatch.setattr(report, "write_robustness", lambda *args: None)


def record(result: dict, domain: str, name: str, severity: int | None = None) -> dict:
    wanted = (domain, name, severity)
    (found,) = [
        r for r in result["records"] if (r["domain"], r["appearance"], r["severity"]) == wanted
    ]
    return found
