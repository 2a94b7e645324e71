"""Refuses an environment in which upstream's OpenMMLab packages have overwritten their maintained
continuations, or in which OpenCV lacks a library of the system."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from ibnseg.support.errors import UserError

DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "onedl-mmcv",
    "onedl-mmengine",
    "onedl-mmsegmentation",
    "numpy",
)
"""The distributions that results depend on, besides one of ``OPENCV``."""

OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""The distributions of OpenCV. Each of them will do; the headless ones need no libraries of the
system, because they cannot show windows, which nothing here does."""

SYSTEM_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
}
"""The libraries of the system that OpenCV loads unless it is headless, each with its package in
Debian and Ubuntu."""

UPSTREAM = {
    "mmcv": "onedl-mmcv",
    "mmcv-lite": "onedl-mmcv",
    "mmcv-full": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmengine-lite": "onedl-mmengine",
    "mmsegmentation": "onedl-mmsegmentation",
}
"""Distributions that install the same import packages as those that this project uses, each mapped
to the one that it overwrites."""


def check_stack() -> None:
    """Checks that none of ``UPSTREAM`` is installed.

    Raises:
        UserError: if one is; it says how to mend the environment.
    """
    found = [name for name in UPSTREAM if installed_version(name)]
    if found:
        ours = " ".join(sorted(set(UPSTREAM.values())))
        raise UserError(
            f"{', '.join(found)} installed beside their maintained continuations, whose files "
            "they overwrite; "
            f"run: pip uninstall -y {' '.join(found)} && pip install --force-reinstall --no-deps "
            f"{ours}"
        )


def check_opencv() -> None:
    """Checks that OpenCV can load the libraries of the system that it needs.

    Raises:
        UserError: if one is missing; it says what to install.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        explained = opencv_error(error)
        if explained is None:
            raise
        raise explained from error


def opencv_error(error: BaseException | None) -> UserError | None:
    """Makes the error that says what to install if OpenCV could not load a library of the system;
    None if neither an exception nor what caused it is about that."""
    while error is not None:
        missing = isinstance(error, ImportError) and _LIBRARY.match(str(error))
        if missing and missing[1] in SYSTEM_PACKAGES:
            there = " ".join(name for name in OPENCV if installed_version(name))
            return UserError(
                f"OpenCV cannot load {missing[1]}; install it (apt-get install "
                f"{SYSTEM_PACKAGES[missing[1]]}), or the OpenCV that does not need it: "
                f"pip uninstall -y {there} && pip install opencv-python-headless"
            )
        error = error.__cause__ or error.__context__
    return None


_LIBRARY = re.compile(r"(?:.*/)?(lib[^/]+\.so[\d.]*): ")
"""Matches what the system says of a library that cannot be loaded; its name is the group."""


def versions_of_stack() -> dict[str, str | None]:
    """The versions of the distributions that results depend on; None if one is not installed.

    OpenCV has the name of the distribution that is installed.
    """
    opencv = [name for name in OPENCV if installed_version(name)] or list(OPENCV[:1])
    return {name: installed_version(name) for name in (*DISTRIBUTIONS, *opencv)}


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
