"""The backbones beside upstream's OpenMMLab packages, whose models may not be importable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UPSTREAM = ("mmengine==0.10.7", "mmcv-lite==2.1.0", "mmsegmentation==1.2.2")

PROGRAM = """
import sys
import torch
from ibnseg.models import IBNResNet
assert not any(
    name.startswith(("mmseg", "timm")) and module for name, module in sys.modules.items()
)
from mmcv.cnn import build_norm_layer
name, norm = build_norm_layer(dict(type="ibnseg.IBN", ratio=0.75), 8, postfix=3)
assert (name, norm.split) == ("bn3", (6, 2))
features = IBNResNet(18, "a").eval()(torch.zeros(1, 3, 32, 32))
assert [tuple(f.shape[1:]) for f in features] == [(64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]

import ibnseg
from mmengine.registry import MODELS
with torch.device("meta"):
    assert ibnseg.create("densenet121_ibn_a", features_only=True).variant == "a"
    assert MODELS.build(dict(type="ibnseg.IBNSEResNet", depth=50)).out_channels[-1] == 2048
    try:
        ibnseg.create("fcn", "resnet18")
    except Exception as error:
        print("refused:", error)

from ibnseg import cli
print("returned", cli.main(["models"]))
"""


def run(*first: Path, block: str = "") -> str:
    """What the program prints with folders in front of all others where modules are found."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*first, ROOT)))}
    done = subprocess.run(
        [sys.executable, "-c", block + PROGRAM], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def assert_backbones_alone(said: str) -> None:
    assert "refused: create: the head fcn needs mmseg, which cannot be imported" in said
    assert "ibnseg has its backbones, but not its heads and segmentors" in said
    assert "returned 1" in said
    assert "installed beside their maintained continuations" in said


def test_backbones_need_no_mmseg_and_commands_refuse_upstream(tmp_path):
    """With upstream's metadata beside what is installed; mmseg's models and timm are missing."""
    for requirement in UPSTREAM:
        name, version = requirement.split("==")
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    block = "import sys; sys.modules['mmseg.models'] = sys.modules['timm'] = None"
    assert_backbones_alone(run(tmp_path, block=block))


@pytest.mark.upstream
def test_backbones_work_beside_upstreams_packages(tmp_path, request):
    """With upstream's packages themselves, without mmcv's compiled operators."""
    if "upstream" not in request.config.getoption("-m"):
        pytest.skip("installs packages from PyPI; runs with -m upstream")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--target", tmp_path, *UPSTREAM],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"upstream's packages cannot be installed: {done.stderr.splitlines()[-1]}")
    where = "import mmengine, mmcv; print(mmengine.__version__, mmcv.__version__)"
    said = run(tmp_path, block=where)
    assert "0.10.7 2.1.0" in said
    assert_backbones_alone(said)
