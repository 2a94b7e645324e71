"""The wheel, installed in an empty folder with nothing but data."""

import ast
import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ibnseg

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from a copy of the checkout, is installed alone."""
    import shutil

    folder = tmp_path_factory.mktemp("package")
    copied = shutil.ignore_patterns(".*", "build", "*.egg-info", "work_dirs", "data", "tests")
    shutil.copytree(ROOT, folder / "source", ignore=copied)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"],
        check=True,
    )
    (wheel,) = folder.glob("ibnseg-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_the_packages_are_the_folders() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {p.parent.relative_to(ROOT) for p in (ROOT / "ibnseg").rglob("__init__.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"ibnseg.configs"}
    assert set(setup["options"]["packages"].split()) == expected


def test_tab_lists_the_functions_of_the_package() -> None:
    names = {"Domains", "create", "from_pretrained", "list_models", "load", "predict", "test"}
    names |= {"train"}
    assert set(ibnseg.__all__) == names <= set(dir(ibnseg))
    assert all(callable(getattr(ibnseg, name)) for name in names)
    with pytest.raises(AttributeError, match="'ibnseg' has no attribute 'crate'"):
        _ = ibnseg.crate


def test_the_package_needs_no_module_that_only_unix_has(tmp_path: Path) -> None:
    """What Windows lacks is imported only with a way around it; the help, locks and files work."""
    absent = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios"}
    for path in (ROOT / "ibnseg").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:  # an import in a try is not in the body
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not absent & set(names), path
    code = f"""
import os, sys
sys.modules.update(dict.fromkeys({absent - {"posix"}!r}))
for name in ("sysconf", "sched_getaffinity"):
    delattr(os, name)
from pathlib import Path
import ibnseg
from ibnseg.cli import main
from ibnseg.support.environment import memory_of_machine
from ibnseg.support.files import alone_in, in_turn, written_whole
with alone_in(Path("x"), "is being written"), in_turn(Path("x/a")), written_whole("x/a") as file:
    file.write_text(memory_of_machine())
main(["--help"])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ibnseg ")
    assert (tmp_path / "x/a").read_text() == "memory of unknown size"


def test_the_wheel_carries_configs_and_data(site: Path) -> None:
    expected = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")}
    assert {
        path.relative_to(site / "ibnseg") for path in (site / "ibnseg/configs").rglob("*.py")
    } == expected
    assert len(expected) > 20
    for name in (
        "py.typed",
        "datasets/gta5_split.json",
        "datasets/classes/idd.csv",
        "report/published.csv",
    ):
        assert (site / "ibnseg" / name).is_file()
    assert not (site / "tests").exists()


def test_the_installed_command_shows_its_help(site: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, site / "bin/ibnseg", "--help"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "train" in done.stdout


def test_the_installed_package_draws_streets(site: Path, tmp_path: Path) -> None:
    """``ibnseg streets`` in an empty folder, with the table of materials from the wheel."""
    command = [sys.executable, site / "bin/ibnseg", "streets", "here"]
    small = ["--appearances", "real", "--train", "0", "--val", "2", "--size", "64x64"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([*command, *small], env=env, cwd=tmp_path, check=True)
    made = sorted(path.name for path in (tmp_path / "here").rglob("*.png"))
    assert [name.rpartition("_")[2] for name in made] == [
        "labelIds.png",
        "leftImg8bit.png",
        "labelIds.png",
        "leftImg8bit.png",
        "sheet.png",
    ]


@pytest.mark.slow
def test_the_installed_package_trains_by_name(site: Path, data: Path, tmp_path: Path) -> None:
    """``ibnseg train gta2city_ibn50a`` where there is only ``data/``: a small step, the table."""
    (tmp_path / "data").mkdir()
    for name in ("gta5", "cityscapes"):
        (tmp_path / "data" / name).symlink_to(data / name)
    env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    env.pop("IBNSEG_DATA", None)
    small = "iterations=1 epochs=None batch=2 workers=0 crop_size=(33,33)"
    options = [*small.split(), "model.backbone.init_cfg=None", "model.decode_head.channels=8"]
    where = subprocess.run(
        [sys.executable, "-c", "import ibnseg; print(ibnseg.__file__)"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout
    assert where.startswith(str(site))
    done = subprocess.run(
        [
            sys.executable,
            site / "bin/ibnseg",
            "train",
            "gta2city_ibn50a",
            "--cfg-options",
            *options,
        ],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "work_dirs/gta2city_ibn50a/results.json").read_text())
    assert [test["domain"] for test in content["tests"]] == ["gta5", "cityscapes"]
    assert content["run"]["model"] == "fcn_ibn50a-d8"
    assert "| GTA5  | Cityscapes | IBN-Net50-a |" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "work_dirs"]
