"""Records of interrupted work: continued, refused, started anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ibnseg.support.errors import UserError
from ibnseg.support.ledger import Ledger, begin, stamp
from tests.support.refusals import refused


def ledger(path: Path, **identity: object) -> Ledger:
    return Ledger(path, "sums", {"seed": 0, "size": [2, 3], **identity}, schema=1)


def done(content: dict) -> list:
    return list(content["done"])


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_what_is_done_is_read_again(tmp_path: Path, suffix: str) -> None:
    mine = ledger(tmp_path / "new" / f"x.{suffix}")
    assert mine.read(done) is None
    mine.write(done=[4, 5])
    assert mine.read(done) == [4, 5]
    assert ledger(mine.path).read_or_restart(done) == [4, 5]


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_other_work_is_refused_or_started_anew_with_the_reason(
    tmp_path: Path, suffix: str, capsys
) -> None:
    ledger(tmp_path / f"x.{suffix}").write(done=[4, 5])
    other = ledger(tmp_path / f"x.{suffix}", seed=1)
    reason = f"{other.path}: holds sums with seed 0, not 1"
    with pytest.raises(UserError) as error:
        other.read(done)
    assert str(error.value) == f"{reason}; give another --out"
    assert other.read_or_restart(done) is None
    assert capsys.readouterr().out == f"{reason}; starting anew\n"


DAMAGED = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"schema": 1}',
    b'{"schema": 2}',
    b'{"seed": 0}',
)


def test_a_damaged_file_is_named_and_may_be_started_anew(tmp_path: Path, capsys) -> None:
    for suffix, content in itertools.product(("json", "npz"), DAMAGED):
        mine = ledger(tmp_path / f"x.{suffix}")
        mine.path.write_bytes(content)
        with (
            pytest.raises(UserError, match=f"x.{suffix}: (damaged|schema 2, expected 1)"),
            refused(content),
        ):
            mine.read(done)
        assert mine.read_or_restart(done) is None, content


def test_damaged_entries_of_finished_work_are_named(tmp_path: Path) -> None:
    mine = ledger(tmp_path / "x.json")
    mine.write()
    with pytest.raises(UserError, match="damaged .KeyError"):
        mine.read(done)


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    """Older files have the identity apart, or lack a key that was added later."""
    old = {"schema": 1, "identity": {"seed": 0, "size": [2, 3]}, "done": [4]}
    (tmp_path / "x.json").write_text(json.dumps(old))
    assert ledger(tmp_path / "x.json").read(done) == [4]
    newer = Ledger(tmp_path / "x.json", "sums", {"seed": 0, "scale": 1}, 1, {"scale": 1})
    assert newer.read(done) == [4]


def test_another_list_of_names_counts_as_other_work(tmp_path: Path) -> None:
    mine = Ledger(tmp_path / "x.npz", "sums", {"names": ["a", "b"]})
    mine.write(done=np.arange(3))
    assert Ledger(mine.path, "sums", {"names": ["a", "b"]}).read(done) == [0, 1, 2]
    for names in (["a"], ["a", "c"], []):
        with pytest.raises(UserError, match="holds sums with names"):
            Ledger(mine.path, "sums", {"names": names}).read(done)


# ---- results of files --------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / name for name in "abc"}
    for path in paths.values():
        path.write_text("x")
    return paths


def left(inputs: dict[str, Path], **identity: object) -> list[str]:
    out = next(iter(inputs.values())).parent / "out"
    outputs = {name: (out / f"{name}.txt", out / f"{name}.png") for name in inputs}
    stamps = {name: stamp(path) for name, path in inputs.items()}
    return begin(ledger(out / "x.json", **identity), stamps, outputs)


def finish(inputs: dict[str, Path], name: str, suffix: str) -> Path:
    path = inputs[name].parent / "out" / f"{name}.{suffix}"
    path.write_text("result")
    return path


def test_inputs_whose_outputs_all_exist_are_not_done_again(inputs: dict[str, Path]) -> None:
    assert left(inputs) == ["a", "b", "c"]
    for name, suffix in (("a", "txt"), ("a", "png"), ("b", "txt")):
        finish(inputs, name, suffix)
    assert left(inputs) == ["b", "c"]


def test_a_changed_input_loses_its_outputs(inputs: dict[str, Path]) -> None:
    left(inputs)
    outputs = [finish(inputs, name, suffix) for name in "ab" for suffix in ("txt", "png")]
    inputs["a"].write_text("changed")
    assert left(inputs) == ["a", "c"]
    assert [path.exists() for path in outputs] == [False, False, True, True]


def test_nothing_is_touched_that_was_not_written_here(inputs: dict[str, Path]) -> None:
    left({"a": inputs["a"]})
    finish(inputs, "b", "txt")
    with pytest.raises(UserError, match="b.txt exists and is not listed in x.json; give another"):
        left(inputs)
    with pytest.raises(UserError, match="holds sums with seed 0, not 1"):
        left(inputs, seed=1)
