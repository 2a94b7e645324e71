"""Runs commands on damaged files in this process and judges them: right, refused in one line, or
wrong. ``tests/test_fuzz.py`` tries some, ``benchmarks/fuzz.py`` thousands."""

from __future__ import annotations

import csv
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from ibnseg import cli
from tests.conftest import save_rgb, scene
from tests.mutations import MUTATIONS, Mutation, has_broken_checksum

SECONDS = 60
"""The longest that a command on these miniature files may take."""
MEMORY = 4 * 2**30
"""The bytes of address space that a command may add to what the process has."""

Values = Mapping[str, object]
"""What a command has come to, by names: arrays, numbers or texts."""


# --- what commands come to ---


def _predictions(out: str) -> Callable[[Path, str], Values]:
    def read(folder: Path, printed: str) -> Values:
        values: dict[str, object] = {}
        for path in sorted((folder / out).glob("*/*.*")):
            name = path.relative_to(folder / out).as_posix()
            if path.suffix == ".npz":
                with np.load(path) as file:
                    values[name] = np.concatenate([file[key].ravel() for key in sorted(file)])
            elif path.suffix == ".png":
                values[name] = np.asarray(Image.open(path))
        return values

    return read


def _counts_of_images(run: str) -> Callable[[Path, str], Values]:
    def read(folder: Path, printed: str) -> Values:
        values = {}
        for path in (folder / run / "per_image").glob("*.npz"):
            with np.load(path) as file:
                values |= {str(n): c for n, c in zip(file["names"], file["confusion"], strict=True)}
        return values

    return read


def _numbers_of_csv(folder: Path, printed: str) -> Values:
    return {
        f"{row['test']} {key}": row[key]
        for row in csv.DictReader(io.StringIO(printed))
        for key in ("value", "images", "image_low", "image_high", "group_low", "group_high")
        if row[key]
    }


def _printed(folder: Path, printed: str) -> Values:
    return {"printed": printed.splitlines()[-1]}


def _files_below(top: str) -> Callable[[Path, str], Values]:
    def read(folder: Path, printed: str) -> Values:
        files = sorted(path for path in (folder / top).rglob("*") if path.is_file())
        return {
            path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.suffix in (".png", ".jpg")
        }

    return read


# --- what is damaged, and what reads it ---


@dataclass(frozen=True)
class Command:
    """A command, and how its outcome is read."""

    line: str
    values: Callable[[Path, str], Values]


@dataclass(frozen=True)
class Target:
    """A kind of file that is damaged, and the commands that read it."""

    name: str
    files: str
    """A pattern below the workspace."""
    commands: Sequence[Command]
    needs: Sequence[str]
    """What of the workspace the commands need."""
    is_free: Callable[[str, Path], bool] = lambda name, file: False
    """Whether a value may be another if the damaged file is a whole, other one of its format."""
    may_lack: bool = False
    """Whether such a file also decides which values there are."""
    goes_on: bool = False
    """Whether a command that refuses the file does all else that it would have done."""


_PREDICT = Command("predict run photos --out new --write probabilities", _predictions("new"))
_GTA5 = Command("test run --domains gta5 --work-dir new", _counts_of_images("new"))
_CITYSCAPES = Command("test run --domains cityscapes --work-dir new", _counts_of_images("new"))
_MATRIX = Command("matrix run --format csv", _numbers_of_csv)
_RUN = ("run", "config.py")


def _is_of_file(name: str, file: Path) -> bool:
    return file.stem in name


STREETS = (
    "streets streets --train 2 --val 2 --test 2 --size 64x64 --layout sem-seg --appearances real"
)
ARCHIVE = (
    "--to bdd100k-sem-seg --domain streets_real_sem_seg "
    "--data-root streets_real_sem_seg=streets/streets_real_sem_seg"
)

TARGETS = (
    Target("photo", "photos/*", [_PREDICT], ("run", "photos"), _is_of_file, goes_on=True),
    Target("image", "data/gta5/images/000[24][2347].png", [_GTA5], ("run", "data"), _is_of_file),
    Target("label", "data/gta5/labels/000[24][2347].png", [_GTA5], ("run", "data")),
    Target(
        "label of Cityscapes",
        "data/cityscapes/gtFine/val/*/*_labelIds.png",
        [_CITYSCAPES],
        ("run", "data"),
    ),
    Target(
        "instance map",
        "data/cityscapes/gtFine/val/*/*_instanceIds.png",
        [_CITYSCAPES],
        ("run", "data"),
    ),
    Target(
        "split", "data/gta5/split.json", [_GTA5], ("run", "data"), lambda *_: False, may_lack=True
    ),
    Target(
        "results.json",
        "run/results.json",
        [
            _MATRIX,
            Command("runs .", lambda *_: {}),
            Command("test run --resume --domains gta5", _counts_of_images("run")),
        ],
        ("run", "data"),
        may_lack=True,
    ),
    Target("counts of images", "run/per_image/*.npz", [_MATRIX], ("run",), may_lack=True),
    Target(
        "checkpoint",
        "run/checkpoints/iter_60.pth",
        [
            _PREDICT,
            _GTA5,
            Command("train config.py --work-dir run --resume", _counts_of_images("run")),
        ],
        ("run", "config.py", "data", "photos"),
    ),
    Target(
        "config of a run",
        "run/config.py",
        [
            _PREDICT,
            Command("train config.py --work-dir run --resume", _counts_of_images("run")),
        ],
        ("run", "config.py", "data", "photos"),
        lambda *_: True,
        may_lack=True,
    ),
    Target(
        "archive",
        "archive.zip",
        [Command(f"submit --check archive.zip {ARCHIVE}", _printed)],
        ("archive.zip", "streets"),
    ),
    Target(
        "record of predictions",
        "out/predictions.json",
        [Command("predict run photos --out out --write probabilities", _predictions("out"))],
        ("run", "photos", "out"),
    ),
    Target(
        "record of streets",
        "streets/*/streets.json",
        [Command(STREETS, _files_below("streets"))],
        ("streets",),
    ),
)


# --- the undamaged files ---


def lay_out(folder: Path, config: Path, run: Path, data: Path) -> None:
    """Fills a folder with what the targets need: copies of a config, of its run and its data;
    photos, their predictions, streets and an archive of their predictions."""
    shutil.copyfile(config, folder / "config.py")
    shutil.copytree(run, folder / "run", symlinks=True)
    for name in ("gta5", "cityscapes"):
        shutil.copytree(data / name, folder / "data" / name)
    for i, name in enumerate(("one.png", "two.jpg", "three.png")):
        save_rgb(folder / "photos" / name, scene(i)[0])
    for line in (
        "predict run photos --out out --write probabilities",
        STREETS,
        f"submit run --out archive.zip {ARCHIVE}",
    ):
        done = call(line, folder)
        if done.code != 0:
            raise RuntimeError(f"{line}: {done.errors}")


@dataclass(frozen=True)
class Done:
    """What a command has done."""

    code: int | None
    """Its exit code; None if an exception left it."""
    printed: str
    errors: str
    """What it wrote to stderr, the traceback of an exception included."""


class TooLong(BaseException):
    """A command takes longer than ``SECONDS``."""


def call(line: str, folder: Path) -> Done:
    """Runs a command in a folder, within ``SECONDS`` and ``MEMORY``."""
    before = Path.cwd()
    printed = io.StringIO()
    os.chdir(folder)
    try:
        with (
            _stderr_to_file() as errors,
            redirect_stdout(printed),
            _bounds(),
        ):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    code = cli.main(line.split())
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except (Exception, TooLong):
                code = None
                traceback.print_exc()
        return Done(code, printed.getvalue(), errors())
    finally:
        os.chdir(before)


@contextmanager
def _stderr_to_file() -> Iterator[Callable[[], str]]:
    """Collects what is written to stderr, by C libraries too."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        content = b""
        try:
            with (
                open(2, "w", closefd=False, errors="backslashreplace") as stream,
                redirect_stderr(stream),
            ):
                yield lambda: content.decode(errors="replace")
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            content = file.read()


@contextmanager
def _bounds() -> Iterator[None]:
    def end(*_) -> None:
        raise TooLong(f"more than {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    handler = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# --- cases ---


@dataclass(frozen=True)
class Case:
    """A damage to a file, and a command that reads it; its seed decides both."""

    seed: int
    target: Target
    file: Path
    """Below the workspace."""
    mutation: Mutation
    command: Command

    def damage(self, folder: Path) -> None:
        """Damages the file in a copy of the workspace."""
        path = folder / self.file
        others = [each for each in sorted(folder.rglob("*")) if each.is_file() and each != path]
        self.mutation.damage(path, Random(self.seed), others)


@dataclass(frozen=True)
class Verdict:
    """How a case has ended."""

    kind: str
    """``right``, ``one line`` or ``wrong``."""
    what: str
    """What was wrong, or what the command wrote to stderr."""


@dataclass
class Workspace:
    """The undamaged files, and what each command comes to on them."""

    folder: Path
    before: dict[str, Values] = field(default_factory=dict)
    """By a command's line, what :meth:`undamaged` has found."""

    def case(self, seed: int) -> Case:
        """Draws a case; the targets take turns."""
        rng = Random(seed)
        target = TARGETS[seed % len(TARGETS)]
        files = sorted(self.folder.glob(target.files))
        file = rng.choice(files)
        mutation = rng.choice([each for each in MUTATIONS if each.applies_to(file)])
        command = rng.choice(target.commands)
        return Case(seed, target, file.relative_to(self.folder), mutation, command)

    def try_case(self, case: Case, place: Path) -> Verdict:
        """Runs a case in an empty folder and judges it."""
        before = self.undamaged(case.target, case.command)
        self._copy(case.target, place)
        case.damage(place)
        temporary = _temporary_files(place)
        was_the_same = _is_same_file(place / case.file, self.folder / case.file)
        is_broken = has_broken_checksum(place / case.file)
        done = call(case.command.line, place)
        problem = _problem_of_ending(done)
        if problem:
            return Verdict("wrong", problem)
        if (place / case.file).with_name("code_has_run").exists():
            return Verdict("wrong", "code of a checkpoint has run")
        left = _temporary_files(place) - temporary
        if left:
            return Verdict("wrong", f"temporary files are left: {', '.join(sorted(left))}")
        if done.code:
            if case.mutation.is_harmless or was_the_same:
                return Verdict("wrong", f"refused: {done.errors}")
            if not case.target.goes_on:
                return Verdict("one line", done.errors)
        after = case.command.values(place, done.printed)
        different = _differences(case, before, after)
        if done.code:
            lost = [name for name in different if not case.target.is_free(name, case.file)]
            if lost:
                return Verdict("wrong", f"not done: {lost}: {done.errors}")
            return Verdict("one line", done.errors)
        if not different:
            return Verdict("right", "")
        if is_broken or was_the_same or case.mutation.is_harmless:
            return Verdict("wrong", f"another value of {different}")
        is_another = case.mutation.makes_another
        if is_another or all(case.target.is_free(name, case.file) for name in different):
            return Verdict("right", f"another value of {different}")
        return Verdict("wrong", f"another value of {different}")

    def undamaged(self, target: Target, command: Command) -> Values:
        """Returns what a command comes to on the undamaged files; it is run once."""
        if command.line not in self.before:
            with tempfile.TemporaryDirectory() as place:
                self._copy(target, Path(place))
                done = call(command.line, Path(place))
                if done.code != 0:
                    raise RuntimeError(f"{command.line}: {done.errors}")
                self.before[command.line] = command.values(Path(place), done.printed)
        return self.before[command.line]

    def _copy(self, target: Target, place: Path) -> None:
        for name in target.needs:
            source = self.folder / name
            if source.is_dir():
                shutil.copytree(source, place / name, symlinks=True)
            else:
                shutil.copy2(source, place / name)


_OF_LIBRARIES = (
    "libpng error: ",
    "libpng warning: ",
    "Corrupt JPEG data: ",
    "Premature end of JPEG",
)
"""How lines begin that libpng and libjpeg write to stderr by themselves."""


def _problem_of_ending(done: Done) -> str | None:
    if done.code is None:
        return done.errors
    lines = [line for line in done.errors.splitlines() if not line.startswith(_OF_LIBRARIES)]
    if done.code and not (len(lines) == 1 and lines[0].startswith("ibnseg: error: ")):
        return f"exit {done.code} with {len(lines)} lines: {done.errors}"
    if "Traceback" in done.errors or "Traceback" in done.printed:
        return f"a traceback is printed: {done.errors}"
    return None


def _temporary_files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob(".*") if ".tmp" in path.name}


def _is_same_file(path: Path, other: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == other.read_bytes()


def _differences(case: Case, before: Values, after: Values) -> list[str]:
    names = {*before, *after}
    if case.target.may_lack:
        names = before.keys() & after.keys()
    return sorted(
        name
        for name in names
        if name not in before or name not in after or not np.array_equal(before[name], after[name])
    )
