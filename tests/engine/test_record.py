"""Records of tests, compared with counts by hand."""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ibnseg.datasets import GTA5, Cityscapes
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.transforms import ids_to_train_ids, read_image, read_label
from ibnseg.engine.record import add_test, describe_run
from ibnseg.evaluation import results
from ibnseg.evaluation.official import AVERAGE_SIZES
from ibnseg.evaluation.per_image import read_per_image, write_per_image
from ibnseg.networks.loading import load_network
from ibnseg.networks.network import predict_image
from ibnseg.networks.testing import test as run_test
from ibnseg.report.records import read_runs
from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError
from tests.conftest import WHOLE

SCENE = {"road", "building", "sky", "car"}


@pytest.fixture
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes", "camvid")}


def test_results_describe_the_run(trained) -> None:
    _, folder, content = trained
    run = content["run"]
    digest = hashlib.sha256((folder / "checkpoints/iter_60.pth").read_bytes()).hexdigest()
    assert content["schema"] == 2
    assert (run["name"], run["title"], run["train_domain"]) == ("trained", "IBN-Net18-a", "gta5")
    assert (run["checkpoint"], run["checkpoint_sha256"]) == ("checkpoints/iter_60.pth", digest)
    assert (run["iteration"], run["seed"]) == (60, 0)
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]


def test_results_equal_a_count_by_hand(trained, data: Path) -> None:
    """The confusion matrix of GTA5 val from predictions made one by one, with plain NumPy."""
    config, folder, content = trained
    network = load_network(Config.fromfile(config), folder / "latest.pth")

    dataset = GTA5(data_root=str(data / "gta5"), split="val", pipeline=[], test_mode=True)
    expected = np.zeros((19, 19), np.int64)
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        label = ids_to_train_ids(read_label(info["seg_map_path"]), GTA5.LABEL_IDS)
        prediction = predict_image(network, read_image(info["img_path"]))
        counted = label != 255
        np.add.at(expected, (label[counted], prediction[counted]), 1)
    home = content["tests"][0]
    np.testing.assert_array_equal(home["confusion"], expected)
    hit = expected.diagonal()
    union = expected.sum(0) + expected.sum(1) - hit
    values = [hit[i] / union[i] for i in range(19) if union[i]]
    assert home["mIoU"] == pytest.approx(np.mean(values), rel=1e-12)
    assert home["pixel_accuracy"] == hit.sum() / expected.sum()
    assert {name for name, iou in home["iou"].items() if iou is not None} >= SCENE
    assert home["images"] == 5
    per_image = np.load(folder / home["per_image"])
    assert per_image["confusion"].dtype == np.uint32
    np.testing.assert_array_equal(per_image["confusion"].sum(0), expected)
    assert per_image["names"][0] == "images/00022.png"
    assert per_image["groups"].tolist() == ["00022", "00022", "00022", "00027", "00043"]


def test_instances_are_scored_as_by_hand(trained, data: Path) -> None:
    """iIoU of the car, the one instance of each image, from predictions made one by one."""
    config, folder, content = trained
    network = load_network(Config.fromfile(config), folder / "latest.pth")
    home, abroad = content["tests"]
    assert "iIoU" not in home  # GTA5 has no instance maps

    dataset = Cityscapes(str(data / "cityscapes"), "val", pipeline=[], test_mode=True)
    hit = false = 0
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        label = ids_to_train_ids(read_label(info["seg_map_path"]), Cityscapes.LABEL_IDS)
        is_car = predict_image(network, read_image(info["img_path"])) == CLASSES.index("car")
        truth = label == CLASSES.index("car")
        hit += is_car[truth].mean() * AVERAGE_SIZES["car"]
        false += int((is_car & ~truth & (label != 255)).sum())
    expected = hit / (len(dataset) * AVERAGE_SIZES["car"] + false)
    assert abroad["iIoU"]["car"] == pytest.approx(expected, rel=1e-12)
    assert (
        f"| iIoU                   |    - | {100 * abroad['mean_iIoU']:10.1f} |"
        in (folder / "results.md").read_text()
    )


def test_without_maps_of_instances_there_is_no_iiou(trained, data: Path, tmp_path: Path) -> None:
    config, folder, content = trained
    shutil.copytree(data / "cityscapes", tmp_path / "cityscapes")
    for path in (tmp_path / "cityscapes/gtFine/val").rglob("*_instanceIds.png"):
        path.unlink()
    (test,) = run_test(
        config,
        folder / "latest.pth",
        roots={"cityscapes": str(tmp_path / "cityscapes")},
        domains=["cityscapes"],
        work_dir=tmp_path / "run",
    )["tests"]
    known = content["tests"][1]
    scores = {"iIoU", "mean_iIoU", "category_iIoU", "category_mean_iIoU"}
    assert known.keys() - test.keys() == scores
    assert test["metrics"].keys() == known["metrics"].keys() - scores
    assert {key: known[key] for key in test if key != "metrics"} == {
        key: value for key, value in test.items() if key != "metrics"
    }


def test_skipped_frames_are_recorded(
    trained, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect, and a frame that some copies lack; the other domain has none."""
    config, folder, _ = trained
    shutil.copytree(data / "gta5", tmp_path / "gta5")
    (tmp_path / "gta5/split.json").unlink()
    split = dict(train=(1,), val=(22, 23, 2154, 20803), test=())
    monkeypatch.setattr("ibnseg.datasets.gta5.official_split", lambda: split)
    roots = {"gta5": str(tmp_path / "gta5"), "cityscapes": str(data / "cityscapes")}
    content = run_test(config, folder / "latest.pth", roots=roots, work_dir=tmp_path / "run")
    home, abroad = content["tests"]
    assert (home["images"], home["skipped"]) == (2, ["02154.png", "20803.png"])
    assert abroad["skipped"] == []
    assert "2 (2 skipped)" in (tmp_path / "run/results.md").read_text()


def test_the_tables_of_a_run_show_its_results(trained, capsys: pytest.CaptureFixture) -> None:
    _, folder, content = trained
    home, abroad = content["tests"]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (folder / "results.md").read_text().splitlines()
        if line.startswith("| GTA5")
    ]
    percent = [f"{100 * x:.1f}" for x in (home["mIoU"], abroad["mIoU"])]
    assert [row[:4] for row in rows] == [
        ["GTA5", "GTA5", "IBN-Net18-a", percent[0]],
        ["GTA5", "Cityscapes", "IBN-Net18-a", percent[1]],
    ]
    assert rows[1][5] == f"{100 * (home['mIoU'] - abroad['mIoU']):.1f}"
    assert rows[1][6:] == ["native v1", "5"]
    assert [float(row["mIoU"]) for row in csv.DictReader((folder / "results.csv").open())] == [
        home["mIoU"],
        abroad["mIoU"],
    ]


def test_a_domain_that_fails_leaves_the_others_results(trained, roots, tmp_path: Path) -> None:
    """Each record is written when its test ends."""
    config, folder, content = trained
    shutil.copytree(roots["cityscapes"], tmp_path / "cityscapes")
    image = next((tmp_path / "cityscapes/leftImg8bit/val/lindau").iterdir())
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{image.name}: truncated or damaged"):
        run_test(
            config,
            folder / "latest.pth",
            roots={**roots, "cityscapes": str(tmp_path / "cityscapes")},
            work_dir=tmp_path / "run",
        )
    (kept,) = results.read(tmp_path / "run/results.json")["tests"]
    assert kept["confusion"] == content["tests"][0]["confusion"]


def test_metrics_of_one_test_are_not_repeated_for_the_next(trained) -> None:
    _, folder, _ = trained
    lines = [
        line
        for log in folder.glob("*/*.log")
        for line in log.read_text().splitlines()
        if "cityscapes/mIoU" in line
    ]
    assert lines
    assert not any("gta5/mIoU" in line for line in lines)


def test_a_test_leaves_the_runs_config_and_adds_to_its_results(
    trained, roots, tmp_path: Path
) -> None:
    """config.py stays that of the training, and the new record joins the run's results."""
    config, run, _ = trained
    folder = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    before = (folder / "config.py").read_text()
    content = run_test(config, folder / "latest.pth", roots=roots, domains=["camvid"])
    assert (folder / "config.py").read_text() == before
    assert "camvid" in [test["domain"] for test in content["tests"]]
    table = (folder / "results.md").read_text()
    assert "| GTA5  | Cityscapes |" in table  # titles of domains that this test did not name
    assert "| GTA5  | CamVid     |" in table
    assert results.read(folder / "results.json") == content


def test_the_recorded_recipe_is_that_of_the_checkpoints_run(trained, tmp_path: Path) -> None:
    """Whatever config is tested with; a checkpoint without its run has none."""
    _, folder, content = trained
    recipe = Run.open(folder).recipe.as_dict()
    assert content["run"]["recipe"] == recipe
    assert content["run"]["source"] == "run"
    cfg = Config.fromfile(folder / "config.py")
    cfg.batch = 1000
    path = folder / "checkpoints" / "iter_60.pth"
    assert describe_run(cfg, path, {}, folder)["recipe"] == recipe
    alone = Path(shutil.copy(path, tmp_path))
    described = describe_run(cfg, alone, {}, folder)
    assert (described["recipe"], described["source"]) == (None, "config and checkpoint")


def result_of(name: str, matrix: list) -> tuple[dict, dict, Callable[[Path], None]]:
    """The run of a checkpoint, the record of its test on one image, and what writes the counts."""
    counts = np.array(matrix)
    facts = dict.fromkeys(("name", "model", "title", "train_domain"), "x")
    run = facts | dict(checkpoint_sha256=name, iteration=1, seed=0)
    file = "per_image/gta5-native.npz"
    record = results.test_record(
        "gta5", "val", WHOLE, ("road", "car"), ("road", "car"), counts, 1, [], file
    )
    return run, record, partial(write_per_image, matrices={"a.png": counts}, groups=["a"])


A, B = result_of("a", [[5, 1], [1, 5]]), result_of("b", [[9, 0], [0, 9]])


def states(folder: Path) -> tuple[bool, bool]:
    """Whether the tests of both are done; all that is recorded is compared, so read, first."""
    read_runs([folder])
    content = results.read(folder / "results.json")
    for test in content["tests"]:
        file = test["per_image"]
        if file is not None:
            read_per_image(folder / file, np.array(test["confusion"]))
    test = dict(domain="gta5", split="val", protocol=WHOLE)
    return tuple(results.is_done(content, run, test, folder) for run, *_ in (A, B))


@pytest.mark.parametrize(("step", "left"), [(0, (True, False)), (1, (False, False))])
@pytest.mark.parametrize("what", ["results", "counts"])
def test_a_test_that_is_killed_between_its_files_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, left: tuple, what: str
) -> None:
    """What is left can be compared, and a test whose counts were replaced is repeated."""

    class Killed(BaseException):
        pass

    add_test(tmp_path, *A, {})
    run, record, write_counts = B
    write, calls = results.write, []

    def dies_after(steps: int, do: Callable) -> Callable:
        def work(*args) -> None:
            if len(calls) == steps:
                raise Killed
            calls.append(do(*args))

        return work

    if what == "results":
        monkeypatch.setattr(results, "write", dies_after(step, write))
    else:
        left = (False, False)
        write_counts = dies_after(0, write_counts)
    with pytest.raises(Killed):
        add_test(tmp_path, run, record, write_counts, {})
    monkeypatch.undo()
    assert states(tmp_path) == left
    add_test(tmp_path, *B, {})
    assert states(tmp_path) == (False, True)
    add_test(tmp_path, *A, {})
    assert states(tmp_path) == (True, False)


def test_a_test_with_the_counts_of_another_checkpoint_is_repeated(tmp_path: Path) -> None:
    """An earlier version left this when it was killed between the two files."""
    add_test(tmp_path, *A, {})
    B[2](tmp_path / "per_image/gta5-native.npz")
    test = dict(domain="gta5", split="val", protocol=WHOLE)
    assert not results.is_done(results.read(tmp_path / "results.json"), A[0], test, tmp_path)


def test_two_tests_of_one_run_at_once_both_keep_their_records(tmp_path: Path) -> None:
    start = multiprocessing.get_context("fork")

    def work(names: str) -> None:
        for name in names:
            add_test(tmp_path, *result_of(name, [[5, 1], [1, 5]]), {})

    both = [start.Process(target=work, args=(names,)) for names in ("abcdefgh", "ijklmnop")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    found = [test["checkpoint_sha256"] for test in results.read(tmp_path / "results.json")["tests"]]
    assert sorted(found) == list("abcdefghijklmnop")


def test_what_a_killed_test_left_goes_with_the_next(tmp_path: Path) -> None:
    left = [".results-a1b2c3d4.tmp.json", "per_image/.gta5-native-a1b2c3d4.tmp.npz"]
    others = [".config-a1b2c3d4.tmp.py", "per_image/.camvid-native-a1b2c3d4.tmp.npz"]
    (tmp_path / "per_image").mkdir()
    for name in left + others:  # a training may be writing the others
        (tmp_path / name).touch()
    add_test(tmp_path, *A, {})
    assert [name for name in left + others if (tmp_path / name).exists()] == others
