"""Metrics that count something else than confusions, in the test of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ibnseg.datasets import Cityscapes
from ibnseg.datasets.transforms import ids_to_train_ids, read_image, read_label
from ibnseg.evaluation.boundary import boundary_counts
from ibnseg.evaluation.calibration import calibration_counts
from ibnseg.networks.loading import load_network
from ibnseg.networks.network import predict_image
from ibnseg.networks.testing import test as run_test
from ibnseg.report.records import read_runs


@pytest.fixture
def roots(data: Path) -> dict[str, str]:
    return {"cityscapes": str(data / "cityscapes")}


def counted_by_hand(config: Path, run: Path, root: str, flipped: bool) -> dict[str, np.ndarray]:
    """What metrics count in Cityscapes val, from probabilities of images one by one."""
    network = load_network(Config.fromfile(config), run / "latest.pth")
    dataset = Cityscapes(data_root=root, split="val", pipeline=[], test_mode=True)
    sums = dict(boundary_iou=np.zeros((19, 3)), calibration=np.zeros((15, 3)))
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        label = ids_to_train_ids(read_label(info["seg_map_path"]), Cityscapes.LABEL_IDS)
        image = read_image(info["img_path"])
        prediction, sure = predict_image(network, image, probabilities=True)
        if flipped:
            _, turned = predict_image(network, image[:, ::-1], probabilities=True)
            sure = (sure + turned[..., ::-1]) / 2
            prediction = sure.argmax(0).astype(np.uint8)
        sums["boundary_iou"] += boundary_counts(label, prediction, 19)
        sums["calibration"] += calibration_counts(label, prediction, sure.max(0))
    return sums


@pytest.mark.parametrize("flipped", [False, True], ids=["plain", "augmented"])
def test_boundaries_and_calibration_are_counted_if_the_config_asks(
    flipped, trained, roots, tmp_path: Path
) -> None:
    config, run, before = trained
    metrics = "metrics=['boundary_iou','calibration']"
    options = [metrics, *(["tta_scales=(1.0,)"] if flipped else [])]
    ways = dict(roots=roots, domains=["cityscapes"], work_dir=tmp_path)
    content = run_test(run, options=options, **ways)
    (test,) = content["tests"]
    expected = counted_by_hand(config, run, roots["cityscapes"], flipped)
    np.testing.assert_allclose(test["counts"]["calibration"], expected["calibration"], atol=0.02)
    if not flipped:  # where two scores are nearly alike, the order of the sum decides
        np.testing.assert_array_equal(test["counts"]["boundary_iou"], expected["boundary_iou"])
        assert test["confusion"] == before["tests"][1]["confusion"]
    pixels, right, sure = np.array(test["counts"]["calibration"]).T
    assert test["metrics"]["calibration"] == np.abs(right - sure).sum() / pixels.sum()
    assert 0 < test["metrics"]["boundary_iou"] < test["metrics"]["mIoU"] + 0.2
    assert "| boundary IoU " in (tmp_path / "results.md").read_text()
    (tested,) = read_runs([tmp_path])
    assert {name: x.shape for name, x in tested.read_images().counts.items()} == {
        "boundary_iou": (5, 19, 3),
        "calibration": (5, 15, 3),
    }


def test_resuming_tests_again_what_lacks_a_metric(trained, roots, tmp_path: Path) -> None:
    _, run, _ = trained
    ways = dict(roots=roots, domains=["cityscapes"], work_dir=tmp_path, resume=True)
    seen = []
    for options in ([], [], ["metrics=['boundary_iou']"], []):
        content = run_test(run, options=options, **ways)
        seen.append([*content["tests"][0]["counts"]])
    assert seen == [[], [], ["boundary_iou"], ["boundary_iou"]]
