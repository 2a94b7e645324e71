"""Tests of a finished run: other protocols, windows and augmentation, and which are done again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image

from ibnseg.datasets import GTA5, Cityscapes
from ibnseg.datasets.transforms import ids_to_train_ids, read_image, read_label
from ibnseg.evaluation import PROTOCOLS, results
from ibnseg.networks.loading import load_network
from ibnseg.networks.network import predict_image
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError


@pytest.fixture
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes", "camvid")}


def test_a_test_is_added_or_replaces_the_same_one(trained, roots, tmp_path: Path, capsys) -> None:
    """Another protocol and domain are added; the same ones are replaced."""
    config, folder, content = trained
    both = run_test(
        config, folder / "latest.pth", roots=roots, protocols=["native", "paper"], work_dir=tmp_path
    )
    printed = capsys.readouterr().out
    assert [(t["domain"], t["protocol"]["name"]) for t in both["tests"]] == [
        ("gta5", "native"),
        ("cityscapes", "native"),
        ("gta5", "paper"),
        ("cityscapes", "paper"),
    ]
    assert both["tests"][0]["confusion"] == content["tests"][0]["confusion"]
    assert both["tests"][3]["confusion"] == both["tests"][1]["confusion"]  # only GTA5 is resized
    assert both["tests"][2]["confusion"] != both["tests"][0]["confusion"]
    assert "paper v1" in printed
    assert "Results: " in printed
    again = run_test(
        config, folder / "latest.pth", roots=roots, domains=["camvid", "gta5"], work_dir=tmp_path
    )
    names = [(t["domain"], t["protocol"]["name"]) for t in again["tests"]]
    assert sorted(names) == sorted(
        [
            ("cityscapes", "native"),
            ("gta5", "paper"),
            ("cityscapes", "paper"),
            ("camvid", "native"),
            ("gta5", "native"),
        ]
    )
    assert len(next(t for t in again["tests"] if t["domain"] == "camvid")["eval_classes"]) == 11
    assert results.read(tmp_path / "results.json") == again


def test_sliding_windows_are_another_record(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    options = [
        "model.test_cfg.mode=slide",
        "model.test_cfg.crop_size=(32,32)",
        "model.test_cfg.stride=(16,16)",
    ]
    content = run_test(
        config,
        folder / "latest.pth",
        roots=roots,
        domains=["gta5"],
        options=options,
        work_dir=tmp_path,
    )
    (test,) = content["tests"]
    assert test["protocol"]["inference"] == "slide 32x32/16x16"
    assert test["per_image"] == "per_image/gta5-native-slide32x32-16x16.npz"
    assert "native-slide32x32-16x16 v1" in (tmp_path / "results.md").read_text()


def test_protocols_change_what_is_seen_and_compared(trained, roots, tmp_path: Path) -> None:
    """A run tested under several protocols in one go; each record is of its own sizes."""
    _, run, before = trained
    shutil.copytree(run, tmp_path / "run")
    content = run_test(
        tmp_path / "run",
        roots=roots,
        domains=["gta5"],
        protocols=["native", "rein"],
        resume=True,
    )
    assert content["tests"][:2] == before["tests"]  # they were there
    home = [test for test in content["tests"] if test["domain"] == "gta5"]
    tests = {test["protocol"]["name"]: test for test in home}
    assert tests["rein"]["protocol"]["inference"] == "slide 512x512/341x341"
    pixels = {name: np.sum(test["confusion"]) for name, test in tests.items()}
    assert pixels["native"] == pixels["rein"] == 5 * 64 * 47  # a row is ignored
    assert (tmp_path / "run" / tests["rein"]["per_image"]).name == "gta5-rein.npz"
    # 64x48 within 1280x720 is 960x720, seen through windows of 512x512
    slide = dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert tests["rein"]["confusion"] == counted(run, roots["gta5"], (960, 720), slide)
    assert tests["rein"]["confusion"] != counted(run, roots["gta5"], (960, 720), {})


def test_all_protocols_are_tested_into_one_table(
    trained, roots, tmp_path: Path, capsys, request: pytest.FixtureRequest
) -> None:
    """Those that make images large are left out here, because they take seconds."""
    _, run, _ = trained
    every = dict(PROTOCOLS)
    request.addfinalizer(lambda: (PROTOCOLS.clear(), PROTOCOLS.update(every)))  # in their order
    for name in ("rein", "soma", "short1024", "synthia13"):
        del PROTOCOLS[name]
    left = ["native", "paper", "robustnet", "synthia16"]
    given = dict(roots=roots, domains=["cityscapes"], work_dir=tmp_path)
    content = run_test(run, protocols=["all"], **given)
    assert [test["protocol"]["name"] for test in content["tests"]] == left
    rows = [line for line in capsys.readouterr().out.splitlines() if "| Cityscapes |" in line]
    assert [row.split("|")[7].split()[0] for row in rows] == left


def test_a_protocol_of_whole_images_leaves_the_models_windows(
    trained, roots, tmp_path: Path
) -> None:
    config, run, before = trained
    windows = dict(mode="slide", crop_size=(32, 32), stride=(16, 16))
    content = run_test(
        config,
        run / "latest.pth",
        options=[f"model.test_cfg.{key}={value}" for key, value in windows.items()],
        roots=roots,
        domains=["gta5"],
        protocols=["robustnet", "native"],
        work_dir=tmp_path,
    )
    whole, slid = content["tests"]
    assert whole["confusion"] == before["tests"][0]["confusion"]
    assert slid["confusion"] == counted(run, roots["gta5"], (64, 48), windows)
    assert slid["confusion"] != whole["confusion"]


def counted(run: Path, root: str, size: tuple[int, int], test_cfg: dict) -> list[list[int]]:
    """The confusion matrix of GTA5 val, its images resized, by the network called by itself."""
    network = load_network(Config.fromfile(run / "config.py"), run / "latest.pth")
    network.test_cfg.update(test_cfg)
    steps = [
        dict(type=f"ibnseg.{name}", **arguments)
        for name, arguments in (
            ("LoadImage", {}),
            ("RescaleImage", dict(rule="exact", to=size)),
            ("LoadLabel", {}),
            ("Pack", {}),
        )
    ]
    dataset = GTA5(data_root=root, split="val", pipeline=steps, test_mode=True)
    total = np.zeros((19, 19), np.int64)
    for item in dataset:
        with torch.inference_mode():
            (sample,) = network.test_step(pseudo_collate([item]))
        label, prediction = (
            getattr(sample, key).data[0].numpy() for key in ("gt_sem_seg", "pred_sem_seg")
        )
        np.add.at(total, (label[label != 255], prediction[label != 255]), 1)
    return total.tolist()


def test_augmentation_is_another_record(trained, roots, tmp_path: Path) -> None:
    """The counts of the mean over scales and flips, by the network's own predictions."""
    config, run, before = trained
    content = run_test(
        run,
        options=["tta_scales=(1.0,)"],
        roots=roots,
        domains=["cityscapes"],
        work_dir=tmp_path,
        tta=True,  # the config's own scales go before
    )
    (test,) = content["tests"]
    assert test["protocol"] == dict(name="native-tta1-flip", version=1, inference="whole")
    network = load_network(Config.fromfile(config), run / "latest.pth")
    dataset = Cityscapes(data_root=roots["cityscapes"], split="val", pipeline=[], test_mode=True)
    expected = np.zeros((19, 19), np.int64)
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        label = ids_to_train_ids(read_label(info["seg_map_path"]), Cityscapes.LABEL_IDS)
        image = read_image(info["img_path"])
        _, plain = predict_image(network, image, probabilities=True)
        _, flipped = predict_image(network, image[:, ::-1], probabilities=True)
        prediction = (plain + flipped[..., ::-1]).argmax(0)
        counted = label != 255
        np.add.at(expected, (label[counted], prediction[counted]), 1)
    difference = np.abs(np.array(test["confusion"]) - expected).sum()
    assert difference <= 0.001 * expected.sum()  # ties of two softmaxes, rounded another way
    assert test["confusion"] != before["tests"][1]["confusion"]


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tests that are run, as they end."""
    from ibnseg.engine.run import Recorder

    ended, after = [], Recorder.after_test_epoch

    def record(self, runner, metrics) -> None:
        after(self, runner, metrics)
        ended.append(runner.test_loop.test["name"])

    monkeypatch.setattr(Recorder, "after_test_epoch", record)
    return ended


def test_an_interrupted_test_goes_on(trained, roots, tested, tmp_path: Path, monkeypatch) -> None:
    """Ctrl-C in the second domain: the first one's record is kept, and not made again."""
    from mmengine.runner import TestLoop

    config, folder, content = trained
    checkpoint = folder / "latest.pth"
    step = TestLoop.run_iter

    def interrupt(self, idx, batch) -> None:
        if "cityscapes" in batch["data_samples"][0].img_path:
            raise KeyboardInterrupt
        step(self, idx, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TestLoop, "run_iter", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_test(config, checkpoint, roots=roots, work_dir=tmp_path)
    assert tested == ["gta5"]
    again = run_test(config, checkpoint, roots=roots, work_dir=tmp_path, resume=True)
    assert tested == ["gta5", "cityscapes"]
    assert [t["confusion"] for t in again["tests"]] == [t["confusion"] for t in content["tests"]]
    assert "Cityscapes" in (tmp_path / "results.md").read_text()
    run_test(config, checkpoint, roots=roots, work_dir=tmp_path, resume=True)
    assert tested == ["gta5", "cityscapes"]
    run_test(config, checkpoint, roots=roots, work_dir=tmp_path)  # without --resume, all
    assert tested == ["gta5", "cityscapes"] * 2


def test_what_has_changed_is_tested_again(trained, roots, tested, tmp_path: Path) -> None:
    """Another checkpoint, another protocol, and a lost file of matrices."""
    config, folder, _ = trained
    last, before = folder / "latest.pth", folder / "checkpoints/iter_50.pth"
    given = dict(roots=roots, work_dir=tmp_path, resume=True, domains=["gta5"])
    run_test(config, last, **given)
    run_test(config, last, **given, protocols=["paper"])
    assert len(tested) == 2
    (tmp_path / "per_image/gta5-paper.npz").unlink()
    run_test(config, last, **given, protocols=["paper"])
    assert len(tested) == 3
    content = run_test(config, before, **given)  # its matrices replace those of the last one
    assert len(tested) == 4
    assert content["run"]["iteration"] == 50
    content = run_test(config, last, **given, protocols=["paper"])  # there: only the table changes
    assert len(tested) == 4
    assert content["run"]["iteration"] == 60
    run_test(config, last, **given)
    assert len(tested) == 5


def test_testing_in_batches_gives_the_same_counts(trained, roots, tmp_path: Path) -> None:
    """Images of several sizes, each with those of its size; with augmentation one at a time."""
    data = tmp_path / "gta5"
    shutil.copytree(roots["gta5"], data)
    for folder in ("images", "labels"):
        path = sorted((data / folder).glob("*.png"))[1]
        Image.open(path).crop((0, 0, 64, 40)).save(path)
    own = dict(roots={"gta5": str(data)}, domains=["gta5"])
    (single,) = run_test(trained[1], work_dir=tmp_path / "1", **own)["tests"]
    (batched,) = run_test(trained[1], work_dir=tmp_path / "4", batch=4, **own)["tests"]
    assert batched == single
    scales = ["tta_scales=(1.0,)"]
    one, four = (
        run_test(trained[1], work_dir=tmp_path / "tta", batch=n, options=scales, **own)["tests"]
        for n in (1, 4)
    )
    assert one == four


def test_another_precision_is_another_record(trained, roots, tmp_path: Path) -> None:
    own = dict(roots=roots, domains=["gta5"], work_dir=tmp_path)
    run_test(trained[1], **own)
    exact, less = run_test(trained[1], precision="bfloat16", **own)["tests"]
    assert [test["protocol"]["name"] for test in (exact, less)] == ["native", "native-bfloat16"]
    assert less["confusion"] != exact["confusion"]
    assert abs(less["pixel_accuracy"] - exact["pixel_accuracy"]) < 0.05
    with pytest.raises(UserError, match="test_precision is 'half', expected 'float32' or"):
        run_test(trained[1], precision="half", **own)
