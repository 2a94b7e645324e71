"""A project of one's own: a folder with configs, domains and a package, and nothing else; what is
executed, and what never is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibnseg import cli
from tests.conftest import save_ids, save_rgb, scene, to_ids

PACKAGE = """
import numpy as np
import torchvision
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
from torch import nn

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.registry import DATASETS


@DATASETS.register_module(force=True)
class Flat(DrivingDataset):
    LAYOUT = "{train,val}/<name>.png and {train,val}_labels/<name>.png"
    SPLITS = ("train", "val")
    LABEL_IDS = CITYSCAPES_IDS

    def pairs(self, root):
        folders = (root / self.split, root / f"{self.split}_labels")
        return tuple({path.stem: path for path in each.glob("*.png")} for each in folders)


@MODELS.register_module(force=True)
class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torchvision.models.squeezenet1_1(weights=None).features[:4]

    def forward(self, images):
        return (self.layers(images),)


@MODELS.register_module(force=True)
class Smooth(nn.Module):
    loss_name = "loss_smooth"

    def forward(self, logits, label, weight=None, ignore_index=255, **kwargs):
        return nn.functional.cross_entropy(
            logits, label, ignore_index=ignore_index, label_smoothing=0.1
        )


@HOOKS.register_module(force=True)
class Count(Hook):
    def after_train_iter(self, runner, batch_idx, **kwargs):
        counted = runner.message_hub.runtime_info.get("counted", 0)
        runner.message_hub.update_info("counted", counted + 1)


@TRANSFORMS.register_module(force=True)
class Darker:
    def __call__(self, sample):
        sample["img"] = (sample["img"] * 0.5).astype(np.uint8)
        return sample
"""
CONFIG = """
custom_imports = dict(imports=["ownproject"])
train_domain = "mine"
test_domains = ["mine", "other"]
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[124, 116, 104], std=[58, 57, 57], bgr_to_rgb=True
    ),
    backbone=dict(type="Squeeze"),
    decode_head=dict(
        type="FCNHead", in_channels=128, channels=8, num_convs=1, num_classes=19, in_index=0,
        loss_decode=dict(type="Smooth"),
    ),
)
crop_size, scale, aspect = (32, 32), (1.0, 1.0), (1.0, 1.0)
augment = [dict(type="Darker")]
optimizer = dict(type="SGD", lr=0.01)
custom_hooks = [dict(type="Count")]
batch, iterations, workers = 2, 2, 0
"""
DOMAINS = dict(
    mine="""
domain = dict(
    name="mine", title="My camera", dataset=dict(type="ibnseg.Flat"), data_root="mine",
    train_split="train", test_split="val", train_resize=None, eval_classes=None, group="image",
)
""",
    other="""
_base_ = "mine.py"
domain = dict(
    name="other", title="Another camera", dataset=dict(type="ibnseg.Cityscapes"),
    data_root="cityscapes",
)
""",
)


@pytest.fixture(scope="module")
def place(data: Path, tmp_path_factory) -> Iterator[Path]:
    """A folder with ``project/``, whose run is trained, ``data/`` and ``elsewhere/``, which is
    empty."""
    place = tmp_path_factory.mktemp("place")
    project = place / "project"
    domains = project / "configs" / "_base_" / "domains"
    domains.mkdir(parents=True)
    (place / "elsewhere").mkdir()
    (project / "ownproject").mkdir()
    (project / "ownproject" / "__init__.py").write_text(PACKAGE)
    (project / "configs" / "mine.py").write_text(CONFIG)
    for name, text in DOMAINS.items():
        (domains / f"{name}.py").write_text(text)
    (place / "data").mkdir()
    (place / "data" / "cityscapes").symlink_to(data / "cityscapes")
    for split, seeds in (("train", range(4)), ("val", range(4, 6))):
        for seed in seeds:
            image, train_ids = scene(seed)
            save_rgb(place / "data" / "mine" / split / f"{seed}.png", image)
            labels = place / "data" / "mine" / f"{split}_labels"
            from ibnseg.datasets.labels import CITYSCAPES_IDS

            save_ids(labels / f"{seed}.png", to_ids(train_ids, CITYSCAPES_IDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBNSEG_DATA", str(place / "data"))
        patch.delenv("IBNSEG_CONFIGS", raising=False)
        patch.setattr(sys, "path", list(sys.path))
        patch.chdir(project)
        assert cli.main(["train", "configs/mine.py"]) == 0
        yield place
        sys.modules.pop("ownproject", None)


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of the run, from a folder that has nothing to do with it; and a Python that has not
    seen the package."""
    forget(monkeypatch)
    monkeypatch.chdir(place / "elsewhere")
    return "../project/work_dirs/mine"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ownproject", raising=False)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if "project" not in each])


def results(run: str) -> dict:
    return json.loads(Path(run, "results.json").read_text())


def test_the_runs_config_says_where_its_modules_and_domains_are(place: Path, run: str) -> None:
    text = Path(run, "config.py").read_text()
    assert f"folder='{place / 'project'}'" in text
    assert f"made_from='{place / 'project' / 'configs' / 'mine.py'}'" in text
    assert "title='Another camera'" in text


def test_a_project_is_tested_from_its_run_alone(run: str, capsys) -> None:
    before = results(run)["tests"]
    assert cli.main(["test", run, "--domains", "mine,other", "--work-dir", "tested"]) == 0
    assert [test["domain"] for test in before] == ["mine", "other"]
    again = results("tested")["tests"]
    assert [test["confusion"] for test in again] == [test["confusion"] for test in before]
    assert "Another camera" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("predict {run} {data}/mine/val --out predicted", "predicted/labels/4.png"),
        (
            "divergence {run} --domains mine,other --layers backbone.layers.0 --out d",
            "d/divergence.json",
        ),
        (
            "robustness {run} --domains mine --conditions RGB+50 --severities 1 --look other "
            "--out r",
            "r/robustness.json",
        ),
        ("submit {run} --to cityscapes --domain other --split val --out s.zip", "s.zip"),
    ],
    ids=lambda text: text.split()[0],
)
def test_every_command_finds_a_projects_domains_and_modules(
    command: str, written: str, place: Path, run: str
) -> None:
    Path(written).unlink(missing_ok=True)
    assert cli.main(command.format(run=run, data=place / "data").split()) == 0
    assert Path(written).is_file()


def test_a_suite_lists_its_runs(run: str, capsys) -> None:
    Path("suite.py").write_text('runs = [dict(config="../project/configs/mine.py")]')
    assert cli.main(["suite", "suite.py", "--list"]) == 0
    assert "waiting" in capsys.readouterr().out
    from ibnseg.engine.read import load_config
    from ibnseg.experiments.plan import read_suite
    from ibnseg.experiments.suite import write_config

    written = write_config(read_suite("suite.py").runs[0], Path("out").resolve())
    cfg = load_config(written)
    assert cfg.domains.mine.title == "My camera"
    assert [module.name for module in cfg.modules] == ["ownproject"]


def test_changed_code_gives_a_new_run_in_a_suite(place: Path, run: str) -> None:
    from ibnseg.experiments.plan import read_suite

    Path("suite.py").write_text('runs = [dict(config="../project/configs/mine.py")]')
    file = place / "project" / "ownproject" / "__init__.py"
    before = file.read_text()
    identities = []
    for text in (before, before + "RATE = 2\n", before):
        file.write_text(text)
        identities.append(read_suite("suite.py").runs[0].identity)
    assert identities[0] == identities[2] != identities[1]


def test_a_projects_configs_and_domains_are_found_by_name(
    place: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ibnseg.datasets.domain import Domains
    from ibnseg.support.configs import config_files

    assert "other" not in Domains()
    monkeypatch.setenv("IBNSEG_CONFIGS", str(place / "project" / "configs"))
    assert Domains()["other"].title == "Another camera"
    assert config_files()["mine"] == place / "project" / "configs" / "mine.py"


@pytest.fixture
def moved(place: Path, run: str) -> Iterator[Path]:
    """The project's folder in another place."""
    moved = place / "moved"
    (place / "project").rename(moved)
    yield moved
    moved.rename(place / "project")


def test_if_a_projects_package_has_moved_the_error_says_which_path_to_set(
    moved: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["test", str(moved / "work_dirs/mine"), "--domains", "mine", "--work-dir", "t"]
    assert cli.main(command) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"ownproject was in {moved.parent / 'project'} and is no longer there" in line
    assert "set PYTHONPATH to the folder that holds ownproject" in line
    monkeypatch.setattr(sys, "path", [str(moved), *sys.path])
    assert cli.main(command) == 0


def test_another_package_of_the_same_name_is_not_taken_for_the_projects(
    place: Path, run: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownproject.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert cli.main(["test", run, "--work-dir", "another"]) == 1
    assert f"ownproject is loaded from {tmp_path}" in capsys.readouterr().err


# ---- what is executed ---------------------------------------------------------------------------

EVIL = {
    "old style": "open({!r}, 'w').close()\n",
    "new style": "from mmengine.config import read_base\n"
    "with read_base():\n    from .evil import *\n",
    "base": "_base_ = 'evil.py'\n",
}


@pytest.fixture(params=EVIL)
def downloaded(request, run: str, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the run whose config.py writes a file, and that file."""
    folder, written = tmp_path / "downloaded", tmp_path / "written"
    shutil.copytree(run, folder, symlinks=True)
    evil = EVIL["old style"].format(str(written))
    (folder / "evil.py").write_text(evil)
    config = folder / "config.py"
    text = EVIL[request.param].format(str(written))
    config.write_text(text + config.read_text())
    return folder, written


def test_a_checkpoints_neighbours_are_not_executed(downloaded, run: str, tmp_path: Path) -> None:
    folder, written = downloaded
    own = str(Path(run, "config.py"))
    out = ["--domains", "mine", "--work-dir", str(tmp_path / "out")]
    assert cli.main(["test", own, str(folder / "latest.pth"), *out]) == 0
    recipe = results(str(tmp_path / "out"))["run"]["recipe"]
    assert recipe is None or recipe == results(run)["run"]["recipe"]
    image = f"{os.environ['IBNSEG_DATA']}/mine/val/4.png"
    predicted = ["predict", own, str(folder / "latest.pth"), image, "--out", str(tmp_path / "p")]
    assert cli.main(predicted) == 0
    assert not written.exists()


def test_a_comparison_executes_nothing_of_a_run(downloaded, run: str) -> None:
    folder, written = downloaded
    assert cli.main(["matrix", str(folder)]) == 0
    assert cli.main(["matrix", str(folder / "results.json")]) == 0
    assert not written.exists()


def test_resuming_executes_no_text_of_a_checkpoint(place: Path, run: str, tmp_path: Path) -> None:
    """mmengine executes the text of a config that it finds in a checkpoint."""
    import torch

    folder, written = tmp_path / "copied", tmp_path / "written"
    shutil.copytree(run, folder, symlinks=True)
    checkpoint = torch.load(folder / "latest.pth", weights_only=True)
    checkpoint["meta"]["config"] = EVIL["old style"].format(str(written))
    torch.save(checkpoint, (folder / "latest.pth").resolve())
    config = place / "project" / "configs" / "mine.py"
    assert cli.main(["train", str(config), "--work-dir", str(folder), "--resume"]) == 0
    assert not written.exists()


def test_the_check_before_resuming_executes_nothing_of_the_run(
    downloaded, place: Path, run: str, capsys
) -> None:
    folder, written = downloaded
    config = place / "project" / "configs" / "mine.py"
    more = ["--resume", "--cfg-options", "batch=1"]
    assert cli.main(["train", str(config), "--work-dir", str(folder), *more]) == 1
    assert not written.exists()
    error = capsys.readouterr().err
    assert "is not plain data" in error or "batch was 2 and is now 1" in error
