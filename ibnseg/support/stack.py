"""Refuses an environment in which upstream's OpenMMLab packages have overwritten their maintained
continuations."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ibnseg.support.errors import UserError

DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "onedl-mmcv",
    "onedl-mmengine",
    "onedl-mmsegmentation",
    "opencv-python",
    "numpy",
)
"""The distributions that results depend on."""

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


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
