"""Refuses an environment in which upstream's OpenMMLab packages would overwrite the maintained
ones."""

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
"""What results depend on."""

UPSTREAM = {
    "mmcv": "onedl-mmcv",
    "mmcv-lite": "onedl-mmcv",
    "mmcv-full": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmengine-lite": "onedl-mmengine",
    "mmsegmentation": "onedl-mmsegmentation",
}
"""Distributions that install the same import packages as the ones this project uses."""


def check_stack() -> None:
    """Raises a UserError if one of ``UPSTREAM`` is installed, saying how to mend the
    environment."""
    found = [name for name in UPSTREAM if _installed(name)]
    if found:
        ours = " ".join(sorted(set(UPSTREAM.values())))
        raise UserError(
            f"{', '.join(found)} installed beside their maintained continuations, whose files "
            "they overwrite; "
            f"run: pip uninstall -y {' '.join(found)} && pip install --force-reinstall --no-deps "
            f"{ours}"
        )


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
