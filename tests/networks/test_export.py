"""``ibnseg export``: one file of all weights."""

from pathlib import Path

import pytest
import torch

from ibnseg import cli, load
from tests.engine.test_resume import same


def test_a_run_is_written_as_one_checkpoint_without_what_training_needs(
    trained: tuple[Path, Path, dict], tmp_path: Path, capsys
) -> None:
    """A frozen backbone's weights are in it: see the tests of partial checkpoints."""
    config, run, _ = trained
    out = tmp_path / "new/whole.pth"
    assert cli.main(["export", str(run), "--full", "--out", str(out)]) == 0
    assert f"{out}: " in capsys.readouterr().out
    found = torch.load(out, weights_only=True)
    assert found.keys() == {"state_dict", "meta"}
    assert found["meta"]["iter"] == 60
    expected = load(run).state_dict()
    assert same(found["state_dict"], {k: v.cpu() for k, v in expected.items()})
    assert same(load(config, out).state_dict(), expected)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x.pth"], "one of the arguments --full --to is required"),
        (["--full"], "the following arguments are required: --out"),
    ],
)
def test_what_and_where_to_is_required(words: list[str], said: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", "run", *words])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_checkpoint_itself_is_not_replaced(
    trained: tuple[Path, Path, dict], tmp_path: Path, capsys
) -> None:
    _, run, _ = trained
    latest = (run / "latest.pth").resolve()
    before = latest.read_bytes()
    for name in ("latest.pth", f"checkpoints/{latest.name}"):
        assert cli.main(["export", str(run), "--full", "--out", str(run / name)]) == 1
        assert "is the checkpoint itself; give another --out" in capsys.readouterr().err
    assert latest.read_bytes() == before
    assert cli.main(["export", str(tmp_path), "--full", "--out", "x.pth"]) == 1
    assert "is not a run folder (no config.py)" in capsys.readouterr().err
