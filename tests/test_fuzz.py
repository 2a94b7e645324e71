"""Damaged files: every command ends with the right result or with one line."""

from pathlib import Path

import pytest

from tests.fuzzing import TARGETS, Workspace, lay_out

CASES = 3
"""Damages of each target; ``benchmarks/fuzz.py`` tries more."""


@pytest.fixture(scope="module")
def workspace(trained, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    config, run, _ = trained
    folder = tmp_path_factory.mktemp("undamaged")
    lay_out(folder, config, run, data)
    return Workspace(folder)


@pytest.mark.parametrize("number", range(len(TARGETS)), ids=[target.name for target in TARGETS])
def test_a_damaged_file_gives_the_right_result_or_one_line(
    number: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IBNSEG_DATA", raising=False)
    for i in range(CASES):
        case = workspace.case(number + i * len(TARGETS))
        place = tmp_path / str(i)
        place.mkdir()
        verdict = workspace.try_case(case, place)
        assert verdict.kind != "wrong", (
            f"seed {case.seed}: {case.file}, {case.mutation.name}: {case.command.line}: "
            f"{verdict.what}"
        )
