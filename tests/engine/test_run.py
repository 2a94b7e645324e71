"""Training and testing from a config to a table."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image

from ibnseg.datasets import GTA5, Cityscapes
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.transforms import ids_to_train_ids, read_image, read_label
from ibnseg.engine.record import describe_run
from ibnseg.engine.run import test as run_test
from ibnseg.engine.run import train
from ibnseg.evaluation import results
from ibnseg.evaluation.official import AVERAGE_SIZES
from ibnseg.networks.network import load_network, predict_image
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, config_folder

SCENE = {"road", "building", "sky", "car"}


@pytest.fixture
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes", "camvid")}


def losses(folder: Path) -> list[float]:
    log = min(folder.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_the_loss_falls_and_the_network_learns(trained) -> None:
    """From about ln(19) to less than half, and better at home than chance and than abroad."""
    _, folder, content = trained
    curve = losses(folder)
    assert len(curve) == 60
    assert curve[0] == pytest.approx(np.log(19), rel=0.1)
    assert np.mean(curve[-5:]) < 0.4 * np.mean(curve[:3])
    home, abroad = content["tests"]
    assert home["pixel_accuracy"] > 0.7 > abroad["pixel_accuracy"]
    assert home["mIoU"] > abroad["mIoU"]  # Cityscapes is in negative colours here


def test_the_progress_line_has_loss_rate_time_and_memory(trained) -> None:
    _, folder, _ = trained
    log = min(folder.glob("*/*.log"))
    line = next(line for line in log.read_text().splitlines() if "Iter(train) [10/60]" in line)
    for part in ("lr: ", "eta: 0:", "loss: ", "memory: ", "decode.acc_seg: "):
        assert part in line
    assert float(line.split("lr: ")[1].split()[0]) == pytest.approx(
        0.05 * (1 - 9 / 60) ** 0.9, rel=1e-3
    )


def test_the_run_folder_has_what_the_contract_says(trained) -> None:
    _, folder, content = trained
    for name in ("config.py", "results.json", "results.md", "results.csv"):
        assert (folder / name).is_file()
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "iter_50.pth",
        "iter_60.pth",
    ]
    assert (folder / "latest.pth").resolve() == (folder / "checkpoints/iter_60.pth").resolve()
    assert json.loads((folder / "results.json").read_text()) == content
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]


def test_results_describe_the_run(trained) -> None:
    _, folder, content = trained
    run = content["run"]
    digest = hashlib.sha256((folder / "checkpoints/iter_60.pth").read_bytes()).hexdigest()
    assert content["schema"] == 2
    assert (run["name"], run["title"], run["train_domain"]) == ("trained", "IBN-Net18-a", "gta5")
    assert (run["checkpoint"], run["checkpoint_sha256"]) == ("checkpoints/iter_60.pth", digest)
    assert (run["iteration"], run["seed"]) == (60, 0)
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]


def changed_run(folder: Path, new: Path, **changes) -> Path:
    """A copy of a run with another config.py; its checkpoint."""
    (new / "checkpoints").mkdir(parents=True)
    Config(Config.fromfile(folder / "config.py").to_dict() | changes).dump(new / "config.py")
    return Path(shutil.copy(folder / "checkpoints/iter_60.pth", new / "checkpoints"))


def test_the_recipe_is_that_of_the_checkpoints_run(trained, tmp_path: Path) -> None:
    """All that a run must be resumed with counts but its seed; the tested config does not."""
    _, folder, content = trained
    own = content["run"]["recipe"]["hash"]
    assert len(own) == 12
    cfg = Config.fromfile(folder / "config.py")

    def recipe(path: Path) -> str | None:
        return describe_run(cfg, path, {}, folder)["recipe"]["hash"]

    same = dict(seed=7, workers=3, log_interval=9, test_domains=["gta5"], title="x", name="x")
    assert recipe(changed_run(folder, tmp_path / "same", **same)) == own
    others = dict(
        batch=8,
        crop_size=(32, 64),
        train_cfg=dict(max_iters=61),
        augment=[dict(type="ibnseg.Invert")],
        optimizer={**cfg.optimizer, "lr": 0.1},
    )
    found = {
        recipe(changed_run(folder, tmp_path / key, **{key: value})) for key, value in others.items()
    }
    assert len(found | {own}) == 1 + len(others)
    lost = changed_run(folder, tmp_path / "default")
    dumped = Config.fromfile(folder / "config.py").to_dict()
    assert dumped.pop("class_uniform") == 0.0
    Config(dumped).dump(tmp_path / "default/config.py")
    assert recipe(lost) == own


def test_no_recipe_of_a_checkpoint_without_its_run(trained, tmp_path: Path) -> None:
    _, folder, _ = trained
    cfg = Config.fromfile(folder / "config.py")
    alone = Path(shutil.copy(folder / "checkpoints/iter_60.pth", tmp_path))
    tested = changed_run(folder, tmp_path / "tested", train_cfg=None)
    broken = changed_run(folder, tmp_path / "broken")
    (tmp_path / "broken/config.py").write_text("batch = (")
    lacking = changed_run(folder, tmp_path / "lacking", batch=None)
    for path in (alone, tested, broken, lacking):
        assert describe_run(cfg, path, {}, folder)["recipe"] is None


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
    assert "iIoU" not in home  # GTA5 has no maps of instances

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


def test_tables(trained, capsys: pytest.CaptureFixture) -> None:
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


def test_a_run_is_not_written_over(trained, roots) -> None:
    config, folder, _ = trained
    before = (folder / "latest.pth").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"holds a run already \(iter_60.pth\).*--resume"):
        train(config, work_dir=folder, roots=roots)
    assert (folder / "latest.pth").stat().st_mtime_ns == before


def test_a_run_that_is_being_trained_is_left_alone(trained, roots) -> None:
    config, folder, _ = trained
    other = pytest.raises(UserError, match="is being trained by another process")
    with alone_in(folder, "is being trained"), other:
        train(config, work_dir=folder, roots=roots, resume=True)


def test_testing_adds_and_replaces(trained, roots, tmp_path: Path, capsys) -> None:
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
        protocols=["native", "rein", "short1024"],
        resume=True,
    )
    assert content["tests"][:2] == before["tests"]  # they were there
    home = [test for test in content["tests"] if test["domain"] == "gta5"]
    tests = {test["protocol"]["name"]: test for test in home}
    assert tests["rein"]["protocol"]["inference"] == "slide 512x512/341x341"
    pixels = {name: np.sum(test["confusion"]) for name, test in tests.items()}
    # 64x48, of which a row is ignored; under short1024 labels are 1365x1024
    assert pixels["native"] == pixels["rein"] == 5 * 64 * 47
    assert pixels["short1024"] == pytest.approx(5 * 1365 * 1024 * 47 / 48, rel=0.001)
    assert (tmp_path / "run" / tests["rein"]["per_image"]).name == "gta5-rein.npz"
    # 64x48 within 1280x720 is 960x720, seen through windows of 512x512
    slide = dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert tests["rein"]["confusion"] == counted(run, roots["gta5"], (960, 720), slide)
    assert tests["rein"]["confusion"] != counted(run, roots["gta5"], (960, 720), {})


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


def test_batches_count_the_same(trained, roots, tmp_path: Path) -> None:
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


def test_the_dumped_config_tests_the_same(trained, roots, tmp_path: Path) -> None:
    """config.py of the work dir needs no other file."""
    _, folder, content = trained
    again = run_test(
        folder / "config.py", folder / "checkpoints/iter_60.pth", roots=roots, work_dir=tmp_path
    )
    assert [t["confusion"] for t in again["tests"]] == [t["confusion"] for t in content["tests"]]
    assert again["run"]["name"] == "trained"


def test_a_finished_run_resumes_to_its_test(trained, roots, tmp_path: Path) -> None:
    config, folder, content = trained
    again = train(config, work_dir=folder, roots=roots, resume=True)
    assert [t["confusion"] for t in again["tests"]] == [t["confusion"] for t in content["tests"]]
    assert again["run"] == content["run"]


def test_a_finished_run_is_not_tested_again(trained, roots, monkeypatch) -> None:
    config, folder, content = trained
    monkeypatch.setattr("ibnseg.engine.loops.DomainTestLoop.run", lambda self: pytest.fail("runs"))
    assert train(config, work_dir=folder, roots=roots, resume=True)["tests"] == content["tests"]


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


def test_what_is_tested_again(trained, roots, tested, tmp_path: Path) -> None:
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


def test_testing_leaves_the_recipe_in_the_run(trained, roots) -> None:
    """config.py stays that of the training, and the new record joins the run's results."""
    config, folder, _ = trained
    before = (folder / "config.py").read_text()
    content = run_test(config, folder / "latest.pth", roots=roots, domains=["camvid"])
    assert (folder / "config.py").read_text() == before
    assert "camvid" in [test["domain"] for test in content["tests"]]
    table = (folder / "results.md").read_text()
    assert "| GTA5  | Cityscapes |" in table  # titles of domains that this test did not name
    assert "| GTA5  | CamVid     |" in table
    assert results.read(folder / "results.json") == content


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("iterations=80", "iterations was 60 and is now 80"),
        ("batch=8", "batch was 4 and is now 8"),
        ("seed=3", "seed was 0 and is now 3"),
        ("optimizer.lr=0.1", "optimizer was .*0.05.* and is now .*0.1"),
    ],
)
def test_a_run_is_not_resumed_under_another_recipe(trained, roots, option, message) -> None:
    config, folder, _ = trained
    with pytest.raises(UserError, match=message):
        train(config, work_dir=folder, roots=roots, resume=True, options=[option])


ROBUSTNET = """
_base_ = [
    "{configs}/_base_/models/deeplabv3plus_ibn50a-d16.py",
    "{configs}/_base_/schedules/robustnet_40k.py",
]
train_domain, test_domains = "gta5", ["gta5"]
model = dict(
    backbone=dict(base_channels=4, stem_channels=4, init_cfg=None),
    decode_head=dict(in_channels=128, channels=8, low_level_in=16, low_level=4),
    auxiliary_head=dict(in_channels=64, channels=8),
)
crop_size, batch, iterations, workers = (32, 32), 4, 6, 0
log_interval, checkpoint_interval, keep_checkpoints = 1, 2, 9
"""


def test_robustnets_recipe_trains_and_resumes(
    roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class-uniform and augmented; resumed from the middle it ends in the same weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = tmp_path / "robustnet.py"
    config.write_text(ROBUSTNET.format(configs=config_folder().as_posix()))
    whole, again = tmp_path / "whole", tmp_path / "again"
    content = train(config, work_dir=whole, roots=roots)
    assert content["run"]["model"] == "deeplabv3plus_ibn50a-d16"
    assert len(losses(whole)) == 6
    (index,) = (tmp_path / "cache" / "ibnseg" / "class_index").iterdir()
    (again / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "config.py", again)
    shutil.copy(whole / "checkpoints" / "iter_2.pth", again / "checkpoints")
    (again / "latest.pth").symlink_to("checkpoints/iter_2.pth")
    index.unlink()  # and it is made again
    train(config, work_dir=again, roots=roots, resume=True)
    assert losses(again) == losses(whole)[2:]
    found, expected = (
        torch.load(folder / "checkpoints/iter_6.pth", weights_only=True)["state_dict"]
        for folder in (again, whole)
    )
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    for option, message in (
        ("class_uniform=0.25", "class_uniform was 0.5 and is now 0.25"),
        ("augment=[]", r"augment was .*ColorJitter.* and is now \[\]"),
        ("train_resize=domain", "train_resize was None and is now domain"),
    ):
        with pytest.raises(UserError, match=message):
            train(config, work_dir=again, roots=roots, resume=True, options=[option])


def test_a_class_balanced_run_trains_tests_and_resumes(tiny_config, roots, tmp_path: Path) -> None:
    config = tiny_config("gta5", ["gta5"], "class_balance = 0.5\niterations = 2", name="balanced")
    folder = tmp_path / "run"
    content = train(config, work_dir=folder, roots=roots)
    (record,) = content["tests"]
    assert np.isfinite(losses(folder)).all()
    loss = Config.fromfile(folder / "config.py").model.decode_head.loss_decode
    assert loss.avg_non_ignore is False
    assert loss.class_weight[CLASSES.index("car")] > loss.class_weight[CLASSES.index("road")]
    again = run_test(folder, roots=roots)
    assert again["tests"][0]["confusion"] == record["confusion"]
    resume = dict(work_dir=folder, roots=roots, resume=True)
    assert train(config, **resume)
    assert train(folder / "config.py", **resume)
    with pytest.raises(UserError, match="class_balance was 0.5 and is now 0.25"):
        train(config, **resume, options=["class_balance=0.25"])


def test_a_run_from_before_a_key_was_there_had_its_default(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    shutil.copytree(folder, tmp_path / "run", symlinks=True)
    dumped = Config.fromfile(folder / "config.py").to_dict()
    for key in (
        "class_uniform",
        "class_balance",
        "augment",
        "train_resize",
        "scale_sampling",
        "interpolation",
    ):
        del dumped[key]
    Config(dumped).dump(tmp_path / "run" / "config.py")
    resume = dict(work_dir=tmp_path / "run", roots=roots, resume=True)
    assert train(config, **resume)
    with pytest.raises(UserError, match="class_uniform was 0.0 and is now 0.5"):
        train(config, **resume, options=["class_uniform=0.5"])


def test_a_run_without_its_config_is_not_resumed(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    shutil.copy(folder / "latest.pth", tmp_path / "latest.pth")
    with pytest.raises(UserError, match=r"no config.py, so its recipe is unknown"):
        train(config, work_dir=tmp_path, roots=roots, resume=True)


def test_damaged_results_are_told_before_the_first_step(tiny_config, roots, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 1')
    config = tiny_config("cityscapes", ["cityscapes"], name="damaged_results")
    with pytest.raises(UserError, match=r"results.json: not JSON"):
        train(config, work_dir=tmp_path, roots=roots)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", ".lock"}


def test_a_domain_that_fails_leaves_the_others_results(trained, roots, tmp_path: Path) -> None:
    """Each record is written when its test ends."""
    config, folder, content = trained
    shutil.copytree(roots["cityscapes"], tmp_path / "cityscapes")
    image = next((tmp_path / "cityscapes/leftImg8bit/val/lindau").iterdir())
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{image.name}: truncated or not an image"):
        run_test(
            config,
            folder / "latest.pth",
            roots={**roots, "cityscapes": str(tmp_path / "cityscapes")},
            work_dir=tmp_path / "run",
        )
    (kept,) = results.read(tmp_path / "run/results.json")["tests"]
    assert kept["confusion"] == content["tests"][0]["confusion"]


def test_a_checkpoint_of_another_training_domain_is_refused(
    trained, tiny_config, roots, tmp_path: Path
) -> None:
    """The networks of gta2city and city2gta are the same; their results are not."""
    _, folder, _ = trained
    config = tiny_config("cityscapes", ["gta5"], name="other_way")
    with pytest.raises(UserError, match="was trained in 'gta5', the config says 'cityscapes'"):
        run_test(config, folder / "latest.pth", roots=roots, work_dir=tmp_path)


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


def test_seed_has_a_folder_of_its_own(tiny_config, roots, in_data: Path) -> None:
    config = tiny_config("cityscapes", ["cityscapes"], "iterations = 1", name="seeded")
    content = train(config, roots=roots, seed=7)
    assert content["run"]["seed"] == 7
    assert (in_data / "work_dirs/seeded/seed7/results.json").is_file()


def test_the_best_checkpoint_is_tested(tiny_config, tmp_path: Path, roots) -> None:
    """best.pth has the highest mIoU on the selection split, and is what is tested."""
    from tests.conftest import write_gta5

    write_gta5(tmp_path / "gta5", (1, 2, 3, 4, 11, 12, 22, 23))
    more = "save_best = True\nselection_split = 'test'\nkeep_checkpoints = 9"
    config = tiny_config("gta5", ["gta5"], more, name="best")
    folder = tmp_path / "run"
    content = train(config, work_dir=folder, roots={"gta5": str(tmp_path / "gta5")})
    assert content["run"]["checkpoint"] == "best.pth"
    (log,) = folder.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    scores = {row["step"]: row["gta5/mIoU"] for row in rows if "gta5/mIoU" in row}
    validated = {step: score for step, score in scores.items() if step in (2, 4, 6)}
    assert len(validated) == 3
    assert content["run"]["iteration"] == max(validated, key=validated.get)
    best = torch.load(folder / "best.pth", weights_only=True)
    same = torch.load(
        folder / f"checkpoints/iter_{content['run']['iteration']}.pth", weights_only=True
    )
    for key, value in same["state_dict"].items():
        assert torch.equal(value, best["state_dict"][key])
    latest = torch.load(folder / "latest.pth", weights_only=True)
    assert latest["message_hub"]["runtime_info"]["best_score"] == max(validated.values())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "gta5/labels/00003.png").unlink(), "00003.png: image without label"),
        (lambda root: (root / "gta5/images/00022.png").unlink(), "00022.png: label without image"),
    ],
)
def test_damaged_data_is_told_before_the_first_step(
    damage, message: str, tiny_config, tmp_path: Path
) -> None:
    from tests.conftest import write_cityscapes, write_gta5

    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "cityscapes")
    damage(tmp_path)
    config = tiny_config("gta5", ["cityscapes", "gta5"], name="damaged")
    roots = {name: str(tmp_path / name) for name in ("gta5", "cityscapes")}
    with pytest.raises(UserError, match=message):
        train(config, work_dir=tmp_path / "run", roots=roots)
    assert not (tmp_path / "run/checkpoints").exists()
    assert not list((tmp_path / "run").rglob("scalars.json"))


def test_a_checkpoint_of_another_network_is_refused(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    with pytest.raises(UserError, match=r"does not fit Segmentor: .*backbone"):
        run_test(
            config,
            folder / "latest.pth",
            roots=roots,
            options=["model.backbone.variant=b"],
            work_dir=tmp_path,
        )
    assert not (tmp_path / "results.json").exists()


def test_a_truncated_checkpoint_is_refused(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    whole = (folder / "latest.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.pth: truncated or not a checkpoint"):
        run_test(config, cut, roots=roots, work_dir=tmp_path)
    with pytest.raises(UserError, match="none.pth: no such checkpoint"):
        run_test(config, tmp_path / "none.pth", roots=roots, work_dir=tmp_path)


def test_a_label_of_unknown_ids_is_named(trained, tmp_path: Path) -> None:
    from tests.conftest import write_cityscapes

    config, folder, _ = trained
    write_cityscapes(tmp_path / "cityscapes")
    label = next((tmp_path / "cityscapes/gtFine/val/lindau").glob("*_labelIds.png"))
    ids = np.asarray(Image.open(label)).copy()
    ids[5, 5] = 77
    Image.fromarray(ids).save(label)
    with pytest.raises(UserError, match=f"{label.name}: ids 77 are not in the dataset's table"):
        run_test(
            config,
            folder / "latest.pth",
            roots={"cityscapes": str(tmp_path / "cityscapes")},
            domains=["cityscapes"],
            work_dir=tmp_path,
        )


def test_all_nineteen_classes_are_listed(trained) -> None:
    assert trained[2]["tests"][0]["classes"] == list(CLASSES)


def test_a_bar_instead_of_the_log(in_data: Path, tiny_config, capfd) -> None:
    """The console shows bars alone; the log and the tables are in the run's folder all the same."""
    config = tiny_config("gta5", ["cityscapes"], "console = 'bar'")
    train(config, work_dir="run", show=False)
    printed = "".join(capfd.readouterr())
    assert "Training IBN-Net18-a" in printed
    assert "6/6" in printed
    assert "Testing on cityscapes" in printed
    assert "5/5" in printed
    assert "Iter(train)" not in printed
    assert "mIoU" not in printed
    (log,) = Path("run").glob("*/*.log")
    assert "Iter(train) [6/6]" in log.read_text()
    assert "Cityscapes" in Path("run/results.md").read_text()
