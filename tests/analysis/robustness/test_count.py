"""Counting in every corruption: against testing, by hand, and interrupted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibnseg import load, predict
from ibnseg.analysis.robustness import count as counting
from ibnseg.analysis.robustness.corruptions import corruptions
from ibnseg.analysis.robustness.count import Tally, count_image
from ibnseg.analysis.robustness.measure import measure_robustness
from ibnseg.appearance import CONDITIONS, generator, look_of_images, match_moments
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.datasets.transforms import ids_to_train_ids
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from tests.analysis.robustness.conftest import measure, record
from tests.conftest import scene


def test_as_they_are_the_images_have_the_mIoU_of_testing(trained, measured) -> None:
    tests = {test["domain"]: test for test in trained[2]["tests"]}
    for domain, test in tests.items():
        found = record(measured[1], domain, "origin")
        assert found["mIoU"] == test["mIoU"]
        assert found["images"] == test["images"]
        assert found["drop"] is None


def cityscapes(data: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Keys, images and train ids of the tested images."""
    root, found = data / "cityscapes", []
    for path in sorted((root / "leftImg8bit" / "val").rglob("*.png")):
        label = str(path).replace("leftImg8bit", "gtFine", 1)
        label = label.replace("_leftImg8bit", "_gtFine_labelIds")
        ids = np.array(Image.open(label))
        train_ids = ids_to_train_ids(ids, CITYSCAPES_IDS)
        found.append((path.relative_to(root).as_posix(), np.array(Image.open(path)), train_ids))
    return found


@pytest.mark.parametrize(("name", "severity"), [("blur", 1), ("noise", 5)])
def test_a_condition_has_the_mIoU_of_its_changed_images(
    data, trained, measured, name: str, severity: int
) -> None:
    network, total = load(trained[1]), 0
    for key, image, label in cityscapes(data):
        changed = CONDITIONS[name].at(image, severity, generator(0, key))
        total = total + confusion_matrix(label, predict(network, changed), 19)
    found = record(measured[1], "cityscapes", name, severity)
    assert found["mIoU"] == mean_iou(total)
    origin = record(measured[1], "cityscapes", "origin")["mIoU"]
    assert found["drop"] == pytest.approx(origin - mean_iou(total), abs=1e-15)
    assert found["parameter"] == CONDITIONS[name].severities[severity - 1]


def test_the_papers_appearances_come_before_the_normalisation(data, trained, measured) -> None:
    network, total = load(trained[1]), 0
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    for _, image, label in cityscapes(data):
        normalised = (torch.from_numpy(image).float() + 50 - mean) / std
        with torch.inference_mode():
            (sample,) = network.predict(normalised.permute(2, 0, 1)[None])
        prediction = sample.pred_sem_seg.data.squeeze(0).numpy()
        total = total + confusion_matrix(label, prediction, 19)
    assert record(measured[1], "cityscapes", "RGB+50")["mIoU"] == mean_iou(total)


def test_predictions_keep_nothing_for_a_backward_pass(trained) -> None:
    network, seen = load(trained[1]), []
    network.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    counting.predict_float(network, scene(0)[0], dict(img_path="x", ori_shape=scene(0)[1].shape))
    assert seen
    assert not any(seen)


def test_the_look_of_a_domain_has_the_mIoU_of_its_changed_images(data, trained, measured) -> None:
    images = [image for _, image, _ in cityscapes(data)]
    look, network, total = look_of_images(images), load(trained[1]), 0
    for _, image, label in cityscapes(data):
        total = total + confusion_matrix(label, predict(network, match_moments(image, look)), 19)
    found = record(measured[1], "cityscapes", "moments of Cityscapes")
    assert found["mIoU"] == mean_iou(total)


def test_an_image_is_counted_once_in_each_appearance() -> None:
    """One is two images ahead, one is behind by this one."""
    shown = corruptions(["RGB+50"])
    image, label = np.full((2, 3, 3), 10, np.uint8), np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    before = np.array([[5, 0], [0, 5]])
    tallies = {"origin": Tally(3, before), "RGB+50": Tally(1, before)}
    seen, done = [], []

    def is_light(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return (image[..., 0] > 50).astype(np.uint8)

    count_image(is_light, image, label, shown, tallies, place=1, done=lambda: done.append(1))
    assert tallies["origin"].images == 3
    assert tallies["RGB+50"].images == 2
    assert tallies["RGB+50"].confusion.tolist() == [[5, 2], [0, 8]]
    assert before.tolist() == [[5, 0], [0, 5]]
    assert len(seen) == len(done) == 1
    assert seen[0].dtype == np.float32
    assert (seen[0] == 60).all()


# ---- interruptions -----------------------------------------------------------------------------


@pytest.mark.usefixtures("unwritten")
def test_nothing_is_counted_twice(trained, measured, roots, monkeypatch, capsys) -> None:
    """The same command, and one that asks for less, predict nothing; a further severity does."""
    out, before = measured
    calls = count_calls(monkeypatch)
    again = measure(trained[1], out, roots)
    assert again["records"] == before["records"]
    assert "70 of 70 predictions are counted already" in capsys.readouterr().out
    less = measure(trained[1], out, roots, conditions=["blur"], looks=[])
    assert [r["appearance"] for r in less["records"]] == ["origin", "blur", "blur"] * 2
    assert not calls
    measure(trained[1], out, roots, conditions=["blur"], looks=[], severities=[1, 2])
    assert len(calls) == 10


def count_calls(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list:
    calls, real = [], counting.predict_float

    def counted(*args, **kwargs):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(counting, "predict_float", counted)
    return calls


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("stop_after", [3, 13])
def test_an_interrupted_count_continues_to_the_same_numbers(
    trained, measured, roots, tmp_path, monkeypatch, stop_after: int
) -> None:
    """The interruption is in the middle of an image, of the first domain or the second."""
    less = dict(conditions=["noise"], severities=[1], looks=[])
    with monkeypatch.context() as patch:
        assert len(count_calls(patch, stop_after)) == 0
        with pytest.raises(KeyboardInterrupt):
            measure(trained[1], tmp_path, roots, **less)
    calls = count_calls(monkeypatch)
    result = measure(trained[1], tmp_path, roots, **less)
    assert len(calls) == 20 - stop_after
    for found in result["records"]:
        keys = (found[key] for key in ("domain", "appearance", "severity"))
        assert found == record(measured[1], *keys)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("change", ["image", "seed", "damaged"])
def test_what_has_changed_is_counted_anew(
    trained, measured, data, tmp_path, monkeypatch, capsys, change: str
) -> None:
    shutil.copytree(measured[0], tmp_path / "out")
    shutil.copytree(data / "gta5", tmp_path / "gta5", copy_function=shutil.copy2)
    roots = {"gta5": str(tmp_path / "gta5")}
    more = {}
    if change == "image":
        os.utime(next((tmp_path / "gta5" / "labels").glob("00022.png")))
    elif change == "seed":
        more = dict(seed=1)
    else:
        for file in (tmp_path / "out" / "measured").glob("gta5*"):
            file.write_text(file.read_text()[:500])
    calls = count_calls(monkeypatch)
    measure_robustness(
        [trained[1]], ["gta5"], tmp_path / "out", conditions=["noise"], severities=[1],
        roots=roots, **more,
    )  # fmt: skip
    assert len(calls) == 10
    assert ("damaged" in capsys.readouterr().out) == (change == "damaged")
    kept = tmp_path / "out" / "measured"
    assert len(list(kept.glob("gta5*"))) == (1 if change == "damaged" else 2)  # nothing is lost
