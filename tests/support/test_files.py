"""Files are written whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ibnseg.support import files
from ibnseg.support.errors import UserError
from ibnseg.support.files import (
    alone_in,
    cache_folder,
    folder_written_whole,
    in_turn,
    is_file_name,
    is_locked,
    stays_inside,
    written_whole,
)


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder, hidden files too."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_new_file_appears_when_it_is_complete(tmp_path):
    with written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
        assert temporary.parent == tmp_path
    assert contents(tmp_path) == {"a.txt": "new"}


def test_a_replaced_file_is_the_old_one_until_the_end(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with written_whole(str(tmp_path / "a.txt")) as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert contents(tmp_path) == {"a.txt": "new"}


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    # numpy appends one of its own otherwise
    with written_whole(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz"


def test_missing_folders_are_made(tmp_path):
    with written_whole(tmp_path / "x" / "y" / "a.txt") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path / "x" / "y") == {"a.txt": "new"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("error", "old"), [(ValueError, "old"), (KeyboardInterrupt, "old"), (UserError, None)]
)
def test_an_exception_leaves_the_old_content_and_nothing_else(tmp_path, error, old):
    if old:
        (tmp_path / "a.txt").write_text(old)

    def write():
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    assert contents(tmp_path) == ({"a.txt": old} if old else {})


def failing(number: int):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("os.fsync", errno.ENOSPC),
        ("pathlib.Path.replace", errno.EACCES),
        ("tempfile.mkstemp", errno.EROFS),
    ],
)
def test_a_full_disk_or_a_missing_permission_names_the_file(tmp_path, monkeypatch, where, number):
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(where, failing(number))
    with pytest.raises(UserError) as error, written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert str(error.value) == f"{tmp_path / 'a.txt'}: cannot be written ({os.strerror(number)})"
    assert contents(tmp_path) == {"a.txt": "old"}


def test_a_disk_that_fills_while_the_caller_writes_keeps_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def write():
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            failing(errno.ENOSPC)()

    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left"):
        write()
    assert contents(tmp_path) == {"a.txt": "old"}


@pytest.mark.parametrize(
    "error",
    [
        OSError("encoder error -2 when writing image file"),
        RuntimeError("PytorchStreamWriter failed"),
    ],
    ids=["Pillow", "torch"],
)
def test_a_full_disk_is_named_if_the_library_only_says_that_it_failed(tmp_path, monkeypatch, error):
    def write():
        with written_whole(tmp_path / "a.png"):
            raise error

    reason = str(error) if isinstance(error, OSError) else None
    with pytest.raises((UserError, RuntimeError), match=reason):  # there is room
        write()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(UserError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_new_name_and_new_folders_survive_a_loss_of_power(tmp_path, monkeypatch):
    """The folder is synced after the file has its name, and the parents of new folders are too."""
    synced, fsync = [], os.fsync

    def record(handle):
        synced.append((os.readlink(f"/proc/self/fd/{handle}"), (tmp_path / "x/y/a.txt").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    with written_whole(tmp_path / "x/y/a.txt") as temporary:
        temporary.write_text("new")
    (file, _), *names = sorted(synced, key=lambda each: ".tmp" not in each[0])
    assert file == str(temporary)
    assert sorted(names) == [
        (str(tmp_path), False),
        (str(tmp_path / "x"), False),
        (str(tmp_path / "x/y"), True),
    ]


def test_processes_change_a_file_in_turn(tmp_path, monkeypatch):
    """The second waits for the first, but not forever."""
    path = tmp_path / "a.txt"
    entered = threading.Event()

    def hold():
        with in_turn(path):
            entered.set()
            time.sleep(0.2)
            path.write_text("first")

    other = threading.Thread(target=hold)
    other.start()
    entered.wait()
    with in_turn(path):
        assert path.read_text() == "first"
        monkeypatch.setattr(files, "PATIENCE", 0.01)
        message = r"a\.txt: has been locked by another process for 0 s"
        with pytest.raises(UserError, match=message), in_turn(path):
            pass
    other.join()


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "x").write_text("a file")
    target = tmp_path / "x" / "a.txt"
    with pytest.raises(UserError, match=r"a\.txt: cannot be written"), written_whole(target):
        pytest.fail("nothing to write to")
    assert contents(tmp_path) == {"x": "a file"}


def test_a_path_that_is_a_folder_is_an_error(tmp_path):
    (tmp_path / "x").mkdir()
    target = tmp_path / "x"
    with pytest.raises(UserError, match="x: cannot be written"), written_whole(target) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_reader_never_sees_a_partly_written_file(tmp_path):
    path = tmp_path / "a.txt"
    versions = [letter * 200_000 for letter in "ab"]
    path.write_text(versions[0])
    done, seen = threading.Event(), []

    def read():
        while not done.is_set():
            text = path.read_text()
            seen.append(text if text in versions else f"{len(text)} characters")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(20):
            with written_whole(path) as temporary, temporary.open("w") as file:
                for start in range(0, 200_000, 50_000):
                    file.write(versions[i % 2][start : start + 50_000])
                    file.flush()
    finally:
        done.set()
        reader.join()
    assert seen
    assert set(seen) <= set(versions)


def test_an_error_about_another_file_is_passed_on_unchanged(tmp_path):
    """An error of reading another file within the block is raised as it is."""
    other = tmp_path / "other.txt"
    with pytest.raises(FileNotFoundError) as error, written_whole(tmp_path / "x"):
        other.read_text()
    assert error.value.filename == str(other)
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    """The folder is free again after a process that was killed."""
    code = (
        "import sys; from pathlib import Path; from ibnseg.support.files import alone_in\n"
        "with alone_in(Path(sys.argv[1]), 'is being trained'): print('in', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as other:
        assert other.stdout.readline() == "in\n"
        message = f"{tmp_path}: is being trained by another process; wait for its end"
        with pytest.raises(UserError, match=message), alone_in(tmp_path, "is being trained"):
            pass
        other.kill()
        other.wait()
        with alone_in(tmp_path, "is being trained"):
            pass


def test_leftovers_of_killed_processes_go_at_the_next_start(tmp_path):
    for name in (".x-a1b2c3d4.tmp.png", "sub/.y-________.tmp", "other/.z-a1b2c3d4.tmp.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("x.tmp.png", ".DS_Store", "other/.lock"):  # in other another process may work
        (tmp_path / name).touch()
    with alone_in(tmp_path, "is being written"):
        pass
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {"x.tmp.png", ".DS_Store", "other/.lock", "other/.z-a1b2c3d4.tmp.json"}
    assert left == {*kept, ".lock"}


def test_a_temporary_file_is_known_as_a_leftover(tmp_path):
    for name in ("a.png", "a", "a.b.json"):
        with written_whole(tmp_path / name) as temporary:
            os.link(temporary, tmp_path / f".kept-{name}")
            leftover = temporary.name
        (tmp_path / leftover).touch()
    with alone_in(tmp_path, "is being written"):
        assert not [path for path in tmp_path.iterdir() if "tmp" in path.name]


def test_a_lock_on_a_folder_is_seen_by_others(tmp_path):
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir())
    with alone_in(tmp_path, "is being written"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ibnseg"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "ibnseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "ibnseg"


def test_names_of_files_cannot_leave_their_folder():
    for name in ("gta5", "städte v2", "native-tta0.5-flip", "a..b", "..a", "x" * 150):
        assert is_file_name(name), name
        assert stays_inside(f"night/{name}"), name
    outside = ("", ".", "..", "../x", "a/../../x", "/etc/x", "a\\..\\x", "C:\\x", "C:x", "a\0b")
    for name in (*outside, "x" * 151, "ß" * 76, f"a/{'x' * 151}", "/".join("abcdefgh" * 80)):
        assert not is_file_name(name), name
        assert not stays_inside(name), name
    assert not is_file_name("a/b")
    assert not is_file_name("a\\b")


# --- folders that are written whole ---


def test_a_folder_appears_when_it_is_complete_and_replaces_all_of_another(tmp_path):
    out = tmp_path / "new/out"
    for text in ("one", "two"):
        with folder_written_whole(out) as temporary:
            (temporary / text).write_text(text)
            (temporary / text).chmod(0o600)
            (temporary / "below").mkdir()
            (temporary / "below/link").symlink_to(f"../{text}")
            assert out.exists() == (text == "two")
        assert sorted(path.name for path in out.iterdir()) == ["below", text]
        assert (out / "below/link").read_text() == text
        assert [path.name for path in out.parent.iterdir()] == ["out"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((out / "two").stat().st_mode) == 0o666 & ~mask


def _write(folder: Path, error: BaseException) -> None:
    with folder_written_whole(folder) as temporary:
        (temporary / "b").write_text("new")
        raise error


def test_a_folder_stays_as_it_was_if_writing_fails(tmp_path):
    out, full = tmp_path / "out", os.strerror(errno.ENOSPC)
    out.mkdir()
    (out / "a").write_text("old")
    for error, expected in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("x"), ValueError),
        (FileNotFoundError(errno.ENOENT, "", "elsewhere"), FileNotFoundError),
        (OSError(errno.ENOSPC, full), UserError),
        (OSError(errno.ENOSPC, full, str(out)), UserError),
    ):
        with pytest.raises(expected):
            _write(out, error)
        assert contents(out) == {"a": "old"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UserError, match=rf"out: cannot be written \({full}\)"):
        _write(out, OSError(errno.ENOSPC, full))


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(UserError, match="cannot be written"), folder_written_whole(out):
        pass
    assert contents(out) == {"a": "old"}


def test_what_a_killed_process_left_of_a_folder_goes_and_another_one_s_work_stays(tmp_path):
    left, busy, other = (tmp_path / f".{name}.tmp" for name in (
        "out-01234567", "out-89abcdef", "outer-01234567",
    ))  # fmt: skip
    for folder in (left, busy, other):
        (folder / "below").mkdir(parents=True)
    with alone_in(busy, "is being written"), folder_written_whole(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [busy.name, other.name, "out"]
