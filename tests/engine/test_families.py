"""Each family of networks, through its config, on generated streets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ibnseg.engine.run import train
from ibnseg.streets.write import write_streets
from tests.engine.test_run import losses

NARROW = {
    "streets_ibn18a": ("base_channels=8", "stem_channels=8"),
    "streets_ibnx50a": ("base_channels=8", "stem_channels=8", "groups=4"),
    "streets_seibn50a": ("base_channels=8", "stem_channels=8"),
    "streets_ibndense121a": ("growth_rate=4",),
}
WIDTHS = dict(zip(NARROW, (64, 256, 256, 128), strict=True))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Generated streets of two looks, 64x64: 8 to train, 3 to test."""
    out = tmp_path_factory.mktemp("streets")
    looks = {"virtual": (8, 3, 0), "real": (0, 3, 0)}
    folders = write_streets(out, looks, size=(64, 64))
    return {f"streets_{look}": str(path) for look, path in zip(looks, folders, strict=True)}


@pytest.mark.parametrize("config", NARROW)
def test_each_family_is_trained_for_ten_iterations_and_tested(
    config: str, roots, tmp_path: Path
) -> None:
    options = [
        "iterations=10",
        "batch=2",
        "log_interval=1",
        "workers=0",
        "crop_size=(64,64)",
        "precision=float32",
        f"model.decode_head.in_channels={WIDTHS[config]}",
        *(f"model.backbone.{option}" for option in NARROW[config]),
    ]
    results = train(config, options=options, domains=list(roots), roots=roots, work_dir=tmp_path)
    assert results["run"]["iteration"] == 10
    assert [test["domain"] for test in results["tests"]] == list(roots)
    for test in results["tests"]:
        assert np.sum(test["confusion"]) > 0.9 * 3 * 64 * 64
        assert 0 < test["mIoU"] < 1
    curve = losses(tmp_path)
    assert len(curve) == 10
    assert np.isfinite(curve).all()
