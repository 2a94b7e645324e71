"""``ibnseg prepare``: what it stores and refuses, and that training reads the same bits from it."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ibnseg.cli import main
from ibnseg.datasets import prepare as preparing
from ibnseg.datasets.sampler import StreamItem
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.engine.expand import expand
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.support.team import in_processes

IMAGES = "leftImg8bit/train/aachen"
FIRST = "aachen_000000_000019"


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    """A copy of the small Cityscapes, which may be changed."""
    return Path(shutil.copytree(data / "cityscapes", tmp_path / "cityscapes"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def prepare(out: Path, root: Path, *more: str) -> int:
    return main(
        ["prepare", "cityscapes", "--out", str(out), "--data-root", f"cityscapes={root}", *more]
    )


@pytest.fixture
def prepared(root: Path, out: Path) -> Path:
    assert prepare(out, root) == 0
    return out / "cityscapes"


def stored(folder: Path) -> dict[str, int]:
    """The arrays of a store, with when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}


def training_data(tiny: Config, root: Path, **changes: object):
    cfg = tiny.copy()
    cfg.train_domain, cfg.test_domains = "cityscapes", ["cityscapes"]
    cfg.update(changes)
    cfg = expand(cfg, {"cityscapes": str(root)})
    return DATASETS.build(cfg.train_dataloader.dataset)


def error_of(arguments, capsys: pytest.CaptureFixture) -> str:
    assert arguments() == 1
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_from_the_store_is_bit_for_bit_that_from_the_files(
    tiny, root, prepared, monkeypatch, interpolation
) -> None:
    samples = []
    for folder in (None, str(prepared.parent)):
        if folder:
            monkeypatch.setenv("IBNSEG_PREPARED", folder)
        dataset = training_data(tiny, root, interpolation=interpolation)
        assert (dataset.store is None) == (folder is None)
        require_equal_sizes(dataset)
        items = [StreamItem(i % len(dataset), i, 7, (20, 9) if i % 2 else None) for i in range(12)]
        samples.append([dataset[item] for item in items])
    shutil.rmtree(root / "leftImg8bit")  # and it is the store that is read
    np.testing.assert_array_equal(dataset[items[0]]["inputs"], samples[0][0]["inputs"])
    for one, other in zip(*samples, strict=True):
        np.testing.assert_array_equal(one["inputs"], other["inputs"])
        labels = (each["data_samples"].gt_sem_seg.data for each in (one, other))
        np.testing.assert_array_equal(*labels)


def test_the_same_command_again_stores_only_what_is_new_or_has_changed(
    root, out, prepared, capsys
) -> None:
    before = stored(prepared)
    assert len(before) == 2 * 4
    assert prepare(out, root) == 0
    assert stored(prepared) == before
    assert "0 of them stored now" in capsys.readouterr().out
    os.utime(root / IMAGES / f"{FIRST}_leftImg8bit.png")
    next(prepared.glob("*.label.npy")).unlink()
    assert prepare(out, root) == 0
    after = stored(prepared)
    assert after.keys() == before.keys()
    assert 2 <= sum(after[name] != before[name] for name in before) <= 4


def test_an_interrupted_command_goes_on(root, out, monkeypatch) -> None:
    done = []

    def stop_after_two(path: Path, *_: object) -> bool:
        done.append(path)
        if len(done) > 2:
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "_holds", stop_after_two)
        assert prepare(out, root) == 130
    written = stored(out / "cityscapes")
    assert 0 < len(written) < 8
    with pytest.raises(UserError, match="is not prepared to the end; give `ibnseg prepare`"):
        require_equal_sizes(from_store(root, out))
    assert prepare(out, root) == 0
    assert written.items() <= stored(out / "cityscapes").items()
    require_equal_sizes(from_store(root, out))


def from_store(root: Path, out: Path, split: str = "train", **kwargs: object):
    config = dict(type="ibnseg.Cityscapes", data_root=str(root), split=split)
    return DATASETS.build({**config, "prepared": str(out / "cityscapes"), **kwargs})


def test_files_that_have_changed_are_refused_before_the_first_step(root, out, prepared) -> None:
    os.utime(root / IMAGES / f"{FIRST}_leftImg8bit.png")
    with pytest.raises(
        UserError, match=r"1 of 4 images or their labels have changed.*aachen_000000"
    ):
        require_equal_sizes(from_store(root, out))


def test_a_copy_with_other_times_is_known_by_its_pixels(root, out, prepared, capsys) -> None:
    before = stored(prepared)
    for path in root.rglob("*.png"):
        os.utime(path)
    with pytest.raises(UserError, match="4 of 4 images .* --verify if they are copies"):
        require_equal_sizes(from_store(root, out))
    assert prepare(out, root, "--verify") == 0
    assert "0 of them stored now" in capsys.readouterr().out
    assert stored(prepared) == before
    require_equal_sizes(from_store(root, out))


def test_verify_mends_what_is_damaged_in_the_store(root, out, prepared) -> None:
    path = next(prepared.glob("*.image.npy"))
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-9], b"no array"):
        path.write_bytes(damaged)
        assert prepare(out, root, "--verify") == 0
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_stored_file_that_is_cut_or_missing_is_named(root, out, prepared, content) -> None:
    for path in prepared.glob("*.image.npy"):
        path.unlink() if content is None else path.write_bytes(content)
    dataset = from_store(root, out, pipeline=[dict(type="ibnseg.LoadImage")])
    with pytest.raises(UserError, match=r"\.image\.npy: missing or damaged .* `ibnseg prepare`"):
        dataset[0]


def test_a_store_of_another_split_or_dataset_is_refused(root, out, prepared) -> None:
    with pytest.raises(UserError, match="holds prepared images with split train, not val"):
        require_equal_sizes(from_store(root, out, "val"))


def test_a_folder_with_other_files_is_neither_written_nor_cleaned(root, out, capsys) -> None:
    folder = out / "cityscapes"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    for more in ((), ("--clean",)):
        assert "is not a prepared domain" in error_of(
            lambda more=more: prepare(out, root, *more), capsys
        )
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_clean_removes_the_store_and_nothing_else(root, out, prepared, capsys) -> None:
    (prepared / "notes.txt").write_text("mine")
    assert prepare(out, root, "--clean") == 0
    assert [path.name for path in prepared.iterdir()] == ["notes.txt"]
    assert "notes.txt" in capsys.readouterr().out
    (prepared / "notes.txt").unlink()
    assert prepare(out, root) == 0
    assert prepare(out, root, "--clean") == 0
    assert not prepared.exists()


def test_too_little_room_is_reported_before_anything_is_written(
    root, out, monkeypatch, capsys
) -> None:
    usage = namedtuple("usage", "total used free")(2**30, 2**30, 1000)
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda folder: usage)
    assert "1,000 bytes are free; make room" in error_of(lambda: prepare(out, root), capsys)
    assert not stored(out / "cityscapes")


def test_a_file_that_changes_while_it_is_prepared_is_refused_later(root, out, monkeypatch) -> None:
    path = root / IMAGES / f"{FIRST}_leftImg8bit.png"
    with monkeypatch.context() as patched:
        patched.setattr(preparing, "_holds", lambda *_: os.utime(path))
        assert prepare(out, root) == 0
    with pytest.raises(UserError, match="1 of 4 images or their labels have changed"):
        require_equal_sizes(from_store(root, out))


def test_unreadable_files_are_named_at_the_end_and_the_others_are_stored(root, out, capsys) -> None:
    path = root / IMAGES / f"{FIRST}_leftImg8bit.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    message = error_of(lambda: prepare(out, root), capsys)
    assert "1 of 4 images or labels of cityscapes cannot be used" in message
    assert path.name in message
    assert len(stored(out / "cityscapes")) == 6
    path.write_bytes(whole)
    assert prepare(out, root) == 0
    assert len(stored(out / "cityscapes")) == 8


def test_what_is_stored_of_removed_images_goes(root, out, prepared) -> None:
    for folder, kind in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        (root / folder / "train/aachen" / f"{FIRST}_{kind}.png").unlink()
    assert prepare(out, root) == 0
    assert len(stored(prepared)) == 6


def test_a_domain_that_is_not_prepared_is_read_from_its_files(
    tiny, root, tmp_path, monkeypatch, log
) -> None:
    monkeypatch.setenv("IBNSEG_PREPARED", str(tmp_path))
    (tmp_path / "cityscapes" / "prepared.json").unlink(missing_ok=True)
    assert training_data(tiny, root).store is None
    assert f"cityscapes is not prepared in {tmp_path}; its files are read" in log.text
    monkeypatch.setenv("IBNSEG_PREPARED", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="IBNSEG_PREPARED is .* no such folder"):
        training_data(tiny, root)


def test_processes_share_the_images(root, out, tmp_path) -> None:
    printed = in_processes(2, lambda: prepare(out, root), tmp_path / "printed")
    assert "4 of them stored now" in printed[0]
    assert len(stored(out / "cityscapes")) == 8
    require_equal_sizes(from_store(root, out))


def test_an_unknown_domain_is_named(out, root, capsys) -> None:
    assert main(["prepare", "cityscape", "--out", str(out)]) == 1
    assert "cityscapes" in capsys.readouterr().err
