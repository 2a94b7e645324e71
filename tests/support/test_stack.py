"""The check for upstream packages beside the maintained ones, and for libraries of the system."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

import ibnseg
from ibnseg import cli
from ibnseg.commands import about
from ibnseg.support import environment, stack
from ibnseg.support.errors import UserError


@pytest.fixture
def pretend(monkeypatch):
    """A function that makes distributions look installed, and all others not."""

    def install(*names: str) -> None:
        def version(name: str) -> str:
            if name not in names:
                raise PackageNotFoundError(name)
            return "2.1.0"

        monkeypatch.setattr(stack, "version", version)

    return install


def test_the_environment_of_the_tests_passes():
    assert stack.check_stack() is None


def test_the_maintained_packages_pass_the_check(pretend):
    pretend("onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation")
    assert stack.check_stack() is None


def test_each_upstream_package_is_refused_with_the_command_that_removes_it(pretend):
    for name in ("mmcv", "mmcv-lite", "mmcv-full", "mmengine", "mmsegmentation"):
        pretend(name, "onedl-mmcv")
        with pytest.raises(
            UserError, match=f"pip uninstall -y {name} && pip install .* onedl-mmcv"
        ):
            stack.check_stack()


def test_several_upstream_packages_are_removed_at_once(pretend):
    pretend("mmengine", "mmcv")
    with pytest.raises(UserError, match="pip uninstall -y mmcv mmengine &&"):
        stack.check_stack()


@pytest.mark.parametrize("name", stack.OPENCV)
def test_any_distribution_of_opencv_will_do(pretend, name):
    """Bug reports and results name the one that is there."""
    pretend(name, "torch")
    assert stack.check_stack() is None
    found = stack.versions_of_stack()
    assert {each: version for each, version in found.items() if version} == {
        name: "2.1.0",
        "torch": "2.1.0",
    }
    assert environment.versions()[name] == "2.1.0"
    assert not set(stack.OPENCV) - {name} & environment.versions().keys()


def test_without_opencv_its_usual_distribution_is_missing(pretend):
    pretend()
    assert environment.versions()["opencv-python"] == "missing"


@pytest.fixture
def without(monkeypatch):
    """A function that makes the import of OpenCV fail because a library cannot be loaded."""

    def hide(library: str, problem: str = "cannot open shared object file") -> None:
        class Finder:
            def find_spec(self, name, *args):
                if name == "cv2":
                    raise ImportError(f"{library}: {problem}")

        monkeypatch.delitem(sys.modules, "cv2")
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])

    return hide


@pytest.mark.parametrize(
    ("library", "package"),
    [("libGL.so.1", "libgl1"), ("libgthread-2.0.so.0", "libglib2.0-0"), ("libxcb.so.1", "libxcb1")],
)
def test_a_missing_library_of_the_system_is_one_line_with_its_package(
    without, pretend, monkeypatch, capsys, library, package
):
    pretend("opencv-python")
    without(library)
    line = (
        f"OpenCV cannot load {library}; install it (apt-get install {package}), or the OpenCV "
        "that does not need it: pip uninstall -y opencv-python && pip install "
        "opencv-python-headless"
    )
    for needs_opencv in (_import_opencv, _wrap_what_is_wrong):
        monkeypatch.setattr(about, "models", needs_opencv)
        assert cli.main(["models"]) == 1, needs_opencv
        assert capsys.readouterr().err == f"ibnseg: error: {line}\n", needs_opencv
    for name in ("load", "create", "train"):
        with pytest.raises(UserError) as error:
            getattr(ibnseg, name)
        assert str(error.value) == line


def _import_opencv(args) -> None:
    import cv2  # noqa: F401


def _wrap_what_is_wrong(args) -> None:
    try:
        _import_opencv(args)
    except ImportError as error:
        raise UserError("model: cannot be built from the config") from error


def test_another_failure_of_the_import_is_not_hidden(without):
    without("libother.so.7")
    with pytest.raises(ImportError, match="libother"):
        stack.check_opencv()


def test_a_damaged_library_of_the_system_is_named_too(without):
    without("/usr/lib/libGL.so.1", "file too short")
    with pytest.raises(UserError, match=r"cannot load libGL.so.1; install it \(apt-get"):
        stack.check_opencv()
