"""Modules of the user's own: found, recorded, and found again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from ibnseg.engine.imports import import_modules, import_named
from ibnseg.support.errors import UserError


@pytest.fixture(autouse=True)
def fresh_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty working folder, and a Python that forgets what these tests import."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield
    for name in set(sys.modules) - before:
        if name.startswith("method"):
            del sys.modules[name]


def package(folder: Path, name: str = "method", text: str = "VALUE = 1\n") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)
    return folder


def config(folder: Path, *names: str) -> Config:
    """A config in a folder that imports modules."""
    return config_of(folder, dict(imports=list(names)))


def config_of(folder: Path, given: object) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.py").touch()
    return Config(dict(custom_imports=given), filename=str(folder / "mine.py"))


@pytest.mark.parametrize("place", [".", "project/configs", "project"])
def test_a_package_is_found_in_the_working_folder_or_beside_the_config(
    place: str, tmp_path: Path
) -> None:
    package(tmp_path / place)
    cfg = config(tmp_path / "project" / "configs", "method")
    import_modules(cfg)
    assert sys.modules["method"].VALUE == 1
    (module,) = cfg.modules
    assert module.folder == str((tmp_path / place).resolve())


def test_pythons_own_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    monkeypatch.setattr(
        sys, "path", [str(package(tmp_path / "first", text="VALUE = 2\n")), *sys.path]
    )
    import_modules(config(tmp_path, "method"))
    assert sys.modules["method"].VALUE == 2


def test_a_file_and_a_folder_without_init_are_packages_too(tmp_path: Path) -> None:
    (tmp_path / "method_file.py").write_text("")
    (tmp_path / "method_folder").mkdir()
    (tmp_path / "method_folder" / "part.py").write_text("")
    cfg = config(tmp_path, "method_file", "method_folder.part")
    import_modules(cfg)
    assert [(each.name, each.folder) for each in cfg.modules] == [
        (name, str(tmp_path.resolve())) for name in ("method_file", "method_folder")
    ]


def test_every_python_file_of_a_package_counts(tmp_path: Path) -> None:
    package(tmp_path)
    hashes = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("notes.txt", "3")):
        (tmp_path / "method" / name).write_text(text)
        cfg = config(tmp_path, "method")
        import_modules(cfg)
        hashes.append(cfg.modules[0].sha256)
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]  # not Python


def test_the_package_itself_is_not_recorded(tmp_path: Path) -> None:
    cfg = config(tmp_path, "ibnseg.registry")
    import_modules(cfg)
    assert not cfg.modules


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["method"], r"custom_imports is \['method'\], expected dict"),
        (dict(import_=["method"]), "custom_imports is .*expected dict"),
        (dict(imports=["method"]), "no module method in Python's path, nor in .*set PYTHONPATH"),
        (dict(imports=["method_broken"]), "method_broken cannot be imported .*division by zero"),
        (dict(imports=["method_broken.no"]), "method_broken.no cannot be imported"),
    ],
)
def test_an_import_that_fails_is_named(given: object, message: str, tmp_path: Path) -> None:
    package(tmp_path, "method_broken", "1 / 0\n")
    cfg = config_of(tmp_path, given)
    with pytest.raises(UserError, match=message):
        import_modules(cfg)


def test_a_package_that_has_changed_since_the_run_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path)
    cfg = config(tmp_path, "method")
    warnings = []
    monkeypatch.setattr("ibnseg.engine.imports.print_log", lambda text, *_: warnings.append(text))
    import_modules(cfg)
    import_modules(cfg)  # which has the record of the first time
    assert not warnings
    (tmp_path / "method" / "more.py").write_text("")
    import_modules(cfg)
    (warning,) = warnings
    assert f"method in {tmp_path} has changed since the run was made" in warning


@pytest.mark.parametrize("name", ["method", "method.py"])
def test_another_package_of_the_name_is_not_taken_for_the_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith(".py"):
        (tmp_path / name).write_text("VALUE = 1")
    else:
        package(tmp_path)
    cfg = config(tmp_path, "method")
    import_modules(cfg)
    del sys.modules["method"]
    monkeypatch.setattr(
        sys, "path", [str(package(tmp_path / "other", text="VALUE = 2\n")), *sys.path]
    )
    with pytest.raises(UserError, match=f"loaded from {tmp_path / 'other'}, and the run has"):
        import_modules(cfg)


def test_an_import_may_fail_if_the_config_says_so(tmp_path: Path) -> None:
    cfg = config(tmp_path, "method")
    cfg.custom_imports.allow_failed_imports = True
    import_modules(cfg)
    assert not cfg.modules


def test_the_users_own_word_imports_from_the_working_folder(tmp_path: Path) -> None:
    package(tmp_path)
    import_named(["method"], "--import")
    assert sys.modules["method"].VALUE == 1
    with pytest.raises(UserError, match="no module method_x"):
        import_named(["method_x"], "--import")
