"""Training from a config to a table, and resuming it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.run import train
from ibnseg.networks.testing import test as run_test
from ibnseg.runs.keys import KEYS, REQUIRED
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, config_folder


@pytest.fixture
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes", "camvid")}


def losses(folder: Path) -> list[float]:
    log = min(folder.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_the_loss_falls_and_the_network_learns(trained) -> None:
    """The loss falls from about ln(19) to less than half; scores are higher in its own domain."""
    _, folder, content = trained
    curve = losses(folder)
    assert len(curve) == 60
    assert curve[0] == pytest.approx(np.log(19), rel=0.1)
    assert np.mean(curve[-5:]) < 0.4 * np.mean(curve[:3])
    home, abroad = content["tests"]
    assert home["pixel_accuracy"] > 0.6 > abroad["pixel_accuracy"]
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


def test_a_run_is_not_written_over(trained, roots) -> None:
    config, folder, _ = trained
    before = (folder / "latest.pth").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"holds a run already \(iter_60.pth\).*--resume"):
        train(config, work_dir=folder, roots=roots)
    assert (folder / "latest.pth").stat().st_mtime_ns == before


def test_two_processes_do_not_train_one_run(trained, roots) -> None:
    config, folder, _ = trained
    other = pytest.raises(UserError, match="is being trained by another process")
    with alone_in(folder, "is being trained"), other:
        train(config, work_dir=folder, roots=roots, resume=True)


def test_a_finished_run_is_not_tested_again(trained, roots, monkeypatch) -> None:
    config, folder, content = trained
    monkeypatch.setattr("ibnseg.engine.loops.DomainTestLoop.run", lambda self: pytest.fail("runs"))
    assert train(config, work_dir=folder, roots=roots, resume=True)["tests"] == content["tests"]


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


def test_class_uniform_and_augmented_training_resumes_exactly(
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
    (index,) = (tmp_path / "cache" / "ibnseg" / "class_index").glob("*.npy")
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


def test_a_run_without_its_config_is_not_resumed(trained, roots, tmp_path: Path) -> None:
    config, folder, _ = trained
    shutil.copy(folder / "latest.pth", tmp_path / "latest.pth")
    with pytest.raises(UserError, match=r"no config.py, so its recipe is unknown"):
        train(config, work_dir=tmp_path, roots=roots, resume=True)


def test_damaged_results_are_reported_before_the_first_step(
    tiny_config, roots, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_text('{"schema": 1')
    config = tiny_config("cityscapes", ["cityscapes"], name="damaged_results")
    with pytest.raises(UserError, match=r"results.json: not JSON"):
        train(config, work_dir=tmp_path, roots=roots)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", ".lock"}


def test_a_checkpoint_of_another_training_domain_is_refused(
    trained, tiny_config, roots, tmp_path: Path
) -> None:
    """The networks of gta2city and city2gta are the same; their results are not."""
    _, folder, _ = trained
    config = tiny_config("cityscapes", ["gta5"], name="other_way")
    with pytest.raises(UserError, match="was trained in 'gta5', the config says 'cityscapes'"):
        run_test(config, folder / "latest.pth", roots=roots, work_dir=tmp_path)


def test_a_run_with_a_seed_has_a_folder_of_its_own(tiny_config, roots, in_data: Path) -> None:
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
    assert content["run"]["selected_on"] == content["run"]["train_domain"]
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


def turn(path: Path) -> None:
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "gta5/labels/00003.png").unlink(), "00003.png: image without label"),
        (lambda root: (root / "gta5/images/00022.png").unlink(), "00022.png: label without image"),
        (
            lambda root: turn(root / "gta5/labels/00003.png"),
            "1 of 8 pairs cannot be used: .*00003.png: label of 48x64 for an image of 64x48",
        ),
        (
            lambda root: turn(next((root / "cityscapes/gtFine/val/lindau").glob("*_labelIds.png"))),
            "1 of 10 pairs cannot be used: .*lindau.*: label of 48x64 for an image of 64x48",
        ),
    ],
)
def test_damaged_data_is_reported_before_the_first_step(
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


def test_the_console_shows_a_bar_instead_of_the_log_on_request(
    in_data: Path, tiny_config, capfd
) -> None:
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


def test_a_run_from_before_a_key_was_there_had_its_default(
    trained, roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder, _ = trained
    shutil.copytree(folder, tmp_path / "run", symlinks=True)
    dumped = Config.fromfile(folder / "config.py").to_dict()
    for name, key in KEYS.items():
        if key.default is not REQUIRED and dumped.get(name) == key.default:
            del dumped[name]
    assert "class_balance" not in dumped
    Config(dumped).dump(tmp_path / "run" / "config.py")
    monkeypatch.setattr("ibnseg.engine.loops.DomainTestLoop.run", lambda self: pytest.fail("runs"))
    assert train(config, work_dir=tmp_path / "run", roots=roots, resume=True)
