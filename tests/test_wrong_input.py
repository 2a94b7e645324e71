"""Wrong input to every command: one line on stderr, exit code 1, nothing half-written."""

import errno
import os
import shutil
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from ibnseg import cli
from tests.conftest import save_rgb, scene


@pytest.fixture
def here(trained, in_data: Path) -> Path:
    """A working folder with a config, a copy of its run, a folder of images, and rubbish."""
    config, run, _ = trained
    shutil.copytree(run, in_data / "run", symlinks=True)
    (in_data / "config.py").write_text(config.read_text())
    for i in range(3):
        save_rgb(in_data / "photos" / f"{i}.png", scene(i)[0])
    (in_data / "file").write_text("a file")
    (in_data / "empty").mkdir()
    whole = (run / "latest.pth").read_bytes()
    (in_data / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save([1], in_data / "list.pth")
    checkpoint = torch.load(run / "latest.pth", weights_only=True)
    checkpoint["state_dict"]["decode_head.conv_seg.bias"][3] = float("nan")
    torch.save(checkpoint, in_data / "nan.pth")
    torch.save({"state_dict": {"x": torch.zeros(2)}}, in_data / "other.pth")
    return in_data


def fail(line: str, capsys: pytest.CaptureFixture) -> str:
    """Runs a command that must fail, and returns its one line."""
    capsys.readouterr()
    with warnings.catch_warnings():  # mmengine's, of runs that begin within one second
        warnings.simplefilter("ignore")
        assert cli.main(line.split()) == 1, line
    err = capsys.readouterr().err
    assert err.startswith("ibnseg: error: "), f"{line}: {err}"
    assert err.count("\n") == 1, f"{line}: {err}"
    return err.removeprefix("ibnseg: error: ").strip()


def unfinished(folder: Path) -> list[Path]:
    """Temporary files that were left behind."""
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


TRAIN = "train config.py --work-dir new"
TEST = "test config.py run/latest.pth --work-dir new"
DIVERGED = "NaN or infinity in decode_head.conv_seg.bias"
SLIDE = "model.test_cfg.mode=slide"

WRONG = {
    "streets and demo": {
        "streets new --appearances virtual,reel": "unknown appearance 'reel'; did you mean real",
        "streets new --size 511x256": "size 511x256: expected even numbers from 64 to 4096",
        "streets new --val 0": "0 images of split val: expected 1 to 999999",
        "streets new --seed 1000": "seed 1000: expected 0 to 999",
        "streets file": "file/streets_virtual",
        "demo --out file": "file/data/streets_virtual",
    },
    "matrix": {
        "matrix": "no run to show; give folders of runs, or --published",
        "matrix nowhere": "nowhere is not a tested run (no results.json)",
        "matrix empty": "empty is not a tested run (no results.json)",
        "matrix file": "file: not JSON",
        "matrix run run": "run and run: both are trained with seed 0; give one of them",
        "matrix run --metric miou": "unknown metric 'miou'; did you mean mIoU?",
        "matrix run --metric bus --published --protocol rien": "unknown protocol of these results",
        "matrix run --domains citiscapes": "unknown test domain of these results 'citiscapes'",
        "matrix --published --metric bus": "nothing to show of bus in these domains",
    },
    "names": {
        "train gta2city_ibn50": "unknown config 'gta2city_ibn50'; did you mean gta2city_ibn50",
        "test camvid_day2dusk_r18 x.pth": "x.pth: no such checkpoint",
        "test camvid_day2dusk_r18": "camvid_day2dusk_r18: a config needs a checkpoint",
        "test photos": "photos is not a run folder (no config.py)",
        "test camvid_day2dusk_r8 run/latest.pth": "did you mean camvid_day2dusk_r18",
        "predict gta2city_r5 run/latest.pth photos": "did you mean gta2city_r50",
        f"{TRAIN} --domains citiscapes": "unknown domain 'citiscapes'; did you mean cityscapes",
        f"{TEST} --domains gta": "unknown domain 'gta'; did you mean gta5?",
        f"{TRAIN} --protocol pape": "unknown protocol 'pape'; did you mean paper?",
        f"{TEST} --protocol natve": "unknown protocol 'natve'; did you mean native?",
        f"{TEST} --cfg-options tta_scales=(0,1)": "tta_scales is (0, 1), expected a list",
        f"{TEST} --cfg-options tta_scales=1": "tta_scales is 1, expected a list",
        f"{TEST} --cfg-options tta_scales=(1,1)": "tta_scales is (1, 1), expected a list",
        f"{TRAIN} --cfg-options save_best=True selection_split=tset": "did you mean test?",
        f"{TRAIN} --cfg-options train_subset=quater": "did you mean quarter?",
        f"{TRAIN} --cfg-options btach=2": "unknown config key 'btach'; did you mean batch",
        f"{TRAIN} --cfg-options optimizer.type=SDG": "unknown optimizer 'SDG'; did you mean SGD",
        f"{TRAIN} --data-root gta=x": "unknown name in --data-root 'gta'; did you mean gta5?",
        "env --data-root gta=x": "unknown name in --data-root 'gta'; did you mean gta5?",
    },
    "values": {
        f"{TRAIN} --cfg-options batch": "option 'batch': expected key=value",
        f"{TRAIN} --cfg-options batch=x": "batch is 'x', expected a whole number from 1 to 65536",
        f"{TRAIN} --cfg-options batch.x=3": "options batch.x=3: do not fit",
        f"{TRAIN} --cfg-options accumulate=0": "accumulate is 0, expected a whole number above 0",
        f"{TRAIN} --cfg-options iterations=-1": "iterations is -1, expected",
        f"{TRAIN} --cfg-options crop_size=3": "crop_size is 3, expected (height, width)",
        f"{TRAIN} --cfg-options crop_size=3,99999": "whole numbers from 1 to 16384",
        f"{TRAIN} --cfg-options scale=0.5,99": "scale is [0.5, 99], expected (least, most)",
        f"{TRAIN} --cfg-options name=5": "name is 5, expected a short name",
        f"{TRAIN} --cfg-options model_title=18": "model_title is 18, expected a name",
        f"{TRAIN} --cfg-options channels_last=nan": "channels_last is nan, expected True or",
        f"{TRAIN} --cfg-options train_subset=[quarter,full]": "expected a name",
        f"{TRAIN} --cfg-options precision=half": "precision is 'half', expected 'float32' or",
        f"{TRAIN} --cfg-options optimizer=None optim_wrapper.optimizer.lr=1": (
            "optim_wrapper.optimizer is {'lr': 1}, expected a dict with type"
        ),
        f"{TRAIN} --cfg-options optimizer=None optim_wrapper.optimizer=SGD": (
            "optim_wrapper.optimizer is 'SGD', expected a dict with type"
        ),
        f"{TRAIN} --cfg-options model.decode_head.loss_decode.class_weight=[1,2]": (
            "model.decode_head.loss_decode.class_weight has 2 values, the network has 19 classes"
        ),
        f"{TRAIN} --cfg-options model.decode_head.loss_decode.class_weight=3": (
            "class_weight is 3, expected None, or a list of 19 numbers"
        ),
        f"{TRAIN} --cfg-options model.decode_head.in_channels=65": "in_channels 65, the features",
        f"{TRAIN} --cfg-options scale=2,1": "scale is [2, 1], expected (least, most)",
        f"{TRAIN} --cfg-options train_resize=563": "train_resize is 563, expected 'domain'",
        f"{TRAIN} --cfg-options scale_sampling=log": "expected 'log_uniform' or 'uniform'",
        f"{TRAIN} --cfg-options interpolation=cubic": "expected 'bilinear' or 'bicubic'",
        f"{TRAIN} --cfg-options class_uniform=1.5": "class_uniform is 1.5, expected a number",
        f"{TRAIN} --cfg-options class_balance=-1": "class_balance is -1, expected a number",
        f"{TRAIN} --cfg-options augment=[blur]": "augment is ['blur'], expected a list of dicts",
        f"{TRAIN} --cfg-options model=3": "model is 3, expected a dict",
        f"{TRAIN} --cfg-options test_domains=[]": "test_domains is [], expected a name",
        f"{TRAIN} --cfg-options optimizer.rl=1": "optimizer: cannot be built from the config",
        f"{TRAIN} --cfg-options model.backbone.dept=1": "unexpected keyword argument 'dept'",
        f"{TRAIN} --cfg-options model.backbone.init_cfg=x.pth": (
            "model: cannot be built from the config (IBNResNet: init_cfg='x.pth', expected a dict"
        ),
        f"{TRAIN} --cfg-options model.decode_head.init_cfg.type=Kaming": (
            "model: unknown type 'Kaming'; did you mean"
        ),
        f"{TRAIN} --cfg-options custom_hooks=[dict(type='EMAHok')]": (
            "custom_hooks: unknown type 'EMAHok'; did you mean EMAHook?"
        ),
        f"{TRAIN} --cfg-options custom_hooks=[dict(type='EMAHook',momentm=0.1)]": (
            "custom_hooks: cannot be built from the config (ExponentialMovingAverage"
        ),
        f"{TRAIN} --cfg-options param_scheduler=[dict(type='CosineAnealingLR',by_epoch=False)]": (
            "param_scheduler: unknown type 'CosineAnealingLR'; did you mean CosineAnnealingLR"
        ),
        f"{TRAIN} --cfg-options augment=[dict(type='ibnseg.NoSuchThing')]": "augment: unknown type",
        f"{TRAIN} --cfg-options optim_wrapper.paramwise_cfg.custom_key=3": (
            "unknown key of optim_wrapper.paramwise_cfg 'custom_key'; did you mean custom_keys?"
        ),
        f"{TRAIN} --seed -1": "seed is -1, expected a whole number from 0",
        f"{TEST} --cfg-options {SLIDE}": "mode 'slide' without crop_size and stride",
        f"{TEST} --cfg-options {SLIDE} model.test_cfg.crop_size=3 model.test_cfg.stride=3": (
            "model.test_cfg.crop_size is 3, expected (height, width)"
        ),
        f"{TEST} --cfg-options {SLIDE} model.test_cfg.crop_size=64,64 model.test_cfg.stride=1,1": (
            "windows of an image of 2048x1024, expected at most 10000; take a larger stride"
        ),
        "predict run photos --cfg-options channels_last=nan": "channels_last is nan",
        "predict run photos --cfg-options model.backbone.type=Rsnt": "model: unknown type 'Rsnt'; ",
        "predict run photos --cfg-options model.decode_head.num_classes=3": "num_classes is 3",
    },
    "folders and files": {
        "train none.py": "none.py: no such config",
        "train file": "file: cannot be read as a config",
        "train empty": "unknown config 'empty'",
        "train config.py --work-dir run": "run holds a run already",
        "train config.py --work-dir file": "file: cannot be written to (File exists)",
        "train config.py --work-dir file/x": "file/x: cannot be written to (Not a directory)",
        f"{TRAIN} --data-root gta5=nowhere": "domain 'gta5': no folder nowhere",
        f"{TRAIN} --data-root gta5=file": "domain 'gta5': no folder file",
        f"{TRAIN} --data-root gta5=empty": "GTA5: no images of split 'val' in empty",
        f"{TEST} --data-root gta5=empty": "GTA5: no images of split 'val' in empty",
        "test config.py none.pth": "none.pth: no such checkpoint",
        "test config.py empty": "empty: no such checkpoint",
        "test config.py file": "file: truncated or not a checkpoint",
        "test config.py cut.pth": "cut.pth: truncated or not a checkpoint",
        "test config.py list.pth": "list.pth: holds a list",
        "test config.py other.pth": "other.pth: does not fit Segmentor",
        "test config.py run/latest.pth --work-dir file": "file: cannot be written to (File exists)",
        "predict nowhere photos": "nowhere is not a run folder (no such folder)",
        "predict empty photos": "empty is not a run folder",
        "predict config.py photos": "config.py: a config needs a checkpoint",
        "predict config.py none.pth photos": "none.pth: no such checkpoint",
        "predict config.py cut.pth photos": "cut.pth: truncated or not a checkpoint",
        "predict config.py other.pth photos": "other.pth: does not fit Segmentor",
        "predict config.py nan.pth photos": f"nan.pth: {DIVERGED}",
        "test config.py nan.pth": f"nan.pth: {DIVERGED}",
        f"{TRAIN} --cfg-options start_from=nan.pth": f"nan.pth: {DIVERGED}",
        "predict run nowhere": "nowhere: no such folder or image",
        "predict run empty": "empty: no images",
        "predict run file": "file is not an image or video",
        "predict run photos --out file": "file: cannot be written to (File exists)",
        "predict run photos --out file/x": "file/x: cannot be written to (Not a directory)",
    },
}


@pytest.mark.parametrize("about", WRONG)
def test_wrong_input_is_refused_in_one_line_and_leaves_nothing(
    about: str, here: Path, capsys
) -> None:
    for line, message in WRONG[about].items():
        assert message in fail(line, capsys), line
        assert not unfinished(here), line
        assert not list(here.glob("predictions/*/*")), line
        assert not list(here.glob("new/*.pth")) + list(here.glob("new/results*")), line
        shutil.rmtree(here / "predictions", ignore_errors=True)


def cut(path: str, share: float = 0.5) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        whole = (folder / path).read_bytes()
        (folder / path).write_bytes(whole[: int(len(whole) * share)])

    return damage


def written(path: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    return damage


def nan(part: str) -> Callable[[Path], None]:
    """Makes a value of the weights, or of the optimiser's state, NaN."""

    def damage(folder: Path) -> None:
        checkpoint = torch.load(folder / LATEST, weights_only=True)
        if part == "state_dict":
            tensor = checkpoint[part]["decode_head.conv_seg.bias"]
        else:
            tensor = checkpoint[part]["state"][0]["momentum_buffer"]
        tensor.view(-1)[0] = float("nan")
        torch.save(checkpoint, folder / LATEST)

    return damage


RESUME = "train config.py --work-dir run --resume"
RETEST = "test config.py run/latest.pth --resume"
LATEST = "run/checkpoints/iter_60.pth"

DAMAGED = [
    (cut("run/results.json"), RESUME, "run/results.json: not JSON"),
    (cut("run/results.json"), RETEST, "run/results.json: not JSON"),
    (cut("run/results.json"), "test config.py run/latest.pth", "run/results.json: not JSON"),
    (written("run/results.json", '{"schema": 1}'), RETEST, "results.json: damaged"),
    (
        written("run/results.json", '{"schema": 1, "run": {}, "tests": [{}]}'),
        RETEST,
        "results.json: damaged",
    ),
    (cut("run/results.json"), "matrix run", "run/results.json: not JSON"),
    (written("run/results.json", '{"schema": 1}'), "matrix run", "results.json: damaged"),
    (
        cut("run/per_image/gta5-native.npz"),
        "matrix run --format csv",
        "run/per_image/gta5-native.npz: damaged",
    ),
    (
        lambda here: shutil.copy(
            here / "run/per_image/gta5-native.npz", here / "run/per_image/cityscapes-native.npz"
        ),
        "matrix run",
        "run/per_image/cityscapes-native.npz: does not add up to the confusion in results.json",
    ),
    (cut(LATEST), RESUME, "run/latest.pth: truncated or not a checkpoint"),
    (nan("state_dict"), RESUME, f"latest.pth: {DIVERGED}"),
    (nan("optimizer"), RESUME, "latest.pth: NaN or infinity in optimizer.state.0.momentum_buffer"),
    (nan("state_dict"), RETEST, f"iter_60.pth: {DIVERGED}"),
    (nan("state_dict"), "divergence run --domains gta5,cityscapes", DIVERGED),
    (nan("state_dict"), "robustness run --conditions R+50 --severities 1", DIVERGED),
    (cut(LATEST), RETEST, "iter_60.pth: truncated or not a checkpoint"),
    (cut(LATEST), "predict run photos", "run/latest.pth: truncated or not a checkpoint"),
    (lambda here: (here / LATEST).unlink(), RESUME, "run/latest.pth: no such checkpoint"),
    (
        lambda here: (here / LATEST).unlink(),
        "train config.py --work-dir run",
        "run holds a run already",
    ),
    (lambda here: (here / LATEST).unlink(), "predict run photos", "a run without latest.pth"),
    *(
        (cut("run/config.py", share), line, message)
        for share in (0, 0.01, 0.5)
        for line, message in (
            (RESUME, "run/config.py"),
            ("test run/config.py run/latest.pth", "run/config.py"),
            ("predict run photos", "run/config.py"),
        )
    ),
    (written("out/predictions.json", '{"schema": 1'), "predict run photos --out out", "damaged"),
    (written("out/predictions.json", "[]"), "predict run photos --out out", "damaged"),
    (written("out/predictions.json", '{"schema": 9}'), "predict run photos --out out", "schema 9"),
    (written("out/labels", "a file"), "predict run photos --out out", "labels/0.png: cannot be"),
]


@pytest.mark.parametrize(("damage", "line", "message"), DAMAGED)
def test_a_damaged_file_is_named_and_nothing_is_changed(
    damage, line: str, message: str, here: Path, capsys
) -> None:
    damage(here)
    before = {path: path.read_bytes() for path in here.glob("run/results.*")}
    assert message in fail(line, capsys)
    assert not unfinished(here)
    assert {path: path.read_bytes() for path in before} == before
    assert not list(here.glob("out/*/*"))


FULL = [
    ("predict run photos --out new", "predictions.json", "new/predictions.json"),
    ("predict run photos --out new", "1.png", "new/labels/1.png"),
    ("predict run photos --out new", "1.jpg", "new/overlays/1.jpg"),
    (TRAIN, "config.py", "new/config.py"),
    (f"{TRAIN} --cfg-options iterations=1", "iter_*.pth", "new/checkpoints/iter_1.pth"),
    (f"{TRAIN} --cfg-options iterations=1", "latest.pth", "new/latest.pth"),
    (TEST, "*.npz", "new/per_image/gta5-native.npz"),
    (TEST, "results.json", "new/results.json"),
    (TEST, "results.md", "new/results.md"),
]


@pytest.mark.parametrize(("line", "pattern", "file"), FULL)
def test_a_full_disk_leaves_no_part_of_a_file(
    line: str, pattern: str, file: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The file is named and not there, not even in part; with room again, the command succeeds."""
    replace = Path.replace

    def fill(self: Path, target: Path) -> Path:
        if fnmatch(Path(target).name, pattern):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fill)
        assert fail(line, capsys).endswith(f"{file}: cannot be written (No space left on device)")
    assert not os.path.lexists(here / file)
    assert not unfinished(here)
    assert cli.main(line.split()) == 0
    assert (here / file).exists()


def test_a_log_that_cannot_be_written_is_an_error_of_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """mmengine's own files too end in one line."""
    from mmengine.visualization import LocalVisBackend

    def fill(*args, **kwargs) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalVisBackend, "add_scalars", fill)
    error = fail(TRAIN, capsys)
    assert error.startswith(str(here / "new")), error
    assert error.endswith(": cannot be written (No space left on device)"), error
