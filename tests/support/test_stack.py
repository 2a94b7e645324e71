"""The check for upstream packages beside the maintained ones."""

from importlib.metadata import PackageNotFoundError

import pytest

from ibnseg.support import stack
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
