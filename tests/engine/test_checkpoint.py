"""Checkpoints: whole, linked, limited in number, safe to read."""

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from ibnseg.engine import checkpoint
from ibnseg.engine.checkpoint import point
from ibnseg.engine.expand import expand
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in


def make(cfg: Config, folder: Path, **changes) -> Runner:
    for key, value in changes.items():
        cfg[key] = value
    cfg = expand(cfg)
    cfg.work_dir = str(folder)
    return Runner.from_cfg(cfg)


def test_the_link_to_the_latest_checkpoint_is_replaced_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link exists at every moment, with the old target until it has the new one."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "latest"
    point(link, "a")
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(link.read_text())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    point(link, "b")
    assert (seen, link.read_text()) == (["a"], "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_without_symbolic_links_the_latest_checkpoint_is_a_hard_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses symbolic links to users without certain rights."""

    def refuse(*args) -> None:
        raise OSError(errno.EPERM, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "checkpoints").mkdir()
    link = tmp_path / "latest"
    for name in ("checkpoints/a", "checkpoints/b"):
        (tmp_path / name).write_text(name)
        point(link, name)
        assert link.read_text() == name
    (tmp_path / "checkpoints/b").unlink()
    assert link.read_text() == "checkpoints/b"
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(UserError, match=r"latest: cannot be written \(a required privilege"):
        point(link, "checkpoints/a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "latest"]


def test_without_the_memory_of_a_process_the_progress_line_lacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = SimpleNamespace(message_hub=MessageHub("memory"))
    monkeypatch.setattr(checkpoint, "resource", None)
    checkpoint.HostMemory().after_train_iter(runner)
    assert not runner.message_hub.log_scalars
    monkeypatch.undo()
    checkpoint.HostMemory().after_train_iter(runner)
    assert runner.message_hub.get_scalar("train/memory").current() > 10


def test_a_link_that_a_killed_process_left_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(self: Path, target: Path) -> None:
        raise KilledError

    monkeypatch.setattr(Path, "replace", kill)
    with pytest.raises(KilledError):
        point(tmp_path / "latest.pth", "checkpoints/iter_2.pth")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".latest-")
    with alone_in(tmp_path, "is being trained"):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_last_checkpoints_are_kept(tiny: Config, in_data: Path) -> None:
    make(tiny, in_data / "run", iterations=5, checkpoint_interval=1, name="keep").train()
    names = sorted(path.name for path in (in_data / "run/checkpoints").iterdir())
    assert names == ["iter_4.pth", "iter_5.pth"]
    assert (in_data / "run/latest.pth").resolve().name == "iter_5.pth"


def test_what_a_run_kept_because_it_was_killed_goes_when_it_is_resumed(
    tiny_config, in_data: Path
) -> None:
    """Even if no step is left to train."""
    config = tiny_config("gta5", ["gta5"])
    train(config, work_dir="run")
    (in_data / "run/checkpoints/iter_2.pth").touch()
    train(config, work_dir="run", resume=True)
    names = sorted(path.name for path in (in_data / "run/checkpoints").iterdir())
    assert names == ["iter_4.pth", "iter_6.pth"]


def test_checkpoints_hold_weights_only(tiny: Config, in_data: Path) -> None:
    """A strict reader takes them, and they have all that a resumed run needs."""
    make(tiny, in_data / "run", iterations=2, name="strict").train()
    checkpoint = torch.load(in_data / "run/latest.pth", weights_only=True)
    assert checkpoint["meta"]["iter"] == 2
    assert {"state_dict", "optimizer", "param_schedulers", "meta"} <= checkpoint.keys()


def test_what_a_killed_save_left_is_removed(tiny: Config, in_data: Path) -> None:
    (in_data / "run/checkpoints").mkdir(parents=True)
    (in_data / "run/checkpoints/.iter_1-abc.tmp.pth").write_text("half of one")
    make(tiny, in_data / "run", iterations=1, name="remains").train()
    assert [path.name for path in (in_data / "run/checkpoints").iterdir()] == ["iter_1.pth"]


def test_a_full_disk_keeps_the_last_checkpoint(
    tiny: Config, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops with one line, and can go on from the checkpoint before."""
    runner = make(tiny, in_data / "run", iterations=4, checkpoint_interval=2, name="full")
    fsync, calls = os.fsync, []

    def full(file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):
            calls.append(file)
        if len(calls) > 2:  # the config and the first checkpoint fit
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    calls.append(0)  # the config is written already
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"iter_4.pth: cannot be written \(No space left"):
        runner.train()
    assert [path.name for path in (in_data / "run/checkpoints").iterdir()] == ["iter_2.pth"]
    assert torch.load(in_data / "run/latest.pth", weights_only=True)["meta"]["iter"] == 2


def test_without_save_best_nothing_is_validated_or_kept_as_best(
    tiny: Config, in_data: Path
) -> None:
    """Without save_best there is no best.pth and no validation."""
    runner = make(tiny, in_data / "run", iterations=2, name="nobest")
    runner.train()
    assert runner.val_loop is None
    assert not (in_data / "run/best.pth").exists()
