"""Projects of one's own in ``examples/`` do what their READMEs say, with tiny networks."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibnseg import cli
from ibnseg.datasets.labels import CITYSCAPES_IDS, CLASSES
from ibnseg.evaluation.metrics import METRICS
from ibnseg.streets.write import write_streets
from tests.engine.test_resume import same

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = (
    "epochs=None",
    "iterations=2",
    "batch=2",
    "workers=0",
    "crop_size=(33,33)",
    "model.backbone.init_cfg=None",
    "model.backbone.base_channels=8",
    "model.backbone.stem_channels=8",
    "model.decode_head.in_channels=64",
    "model.decode_head.channels=16",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that copies an example and makes the copy the working folder, from which Python
    imports."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.chdir(folder)
        monkeypatch.delenv("IBNSEG_DATA", raising=False)
        monkeypatch.syspath_prepend(folder)
        return folder

    return copy


def ibnseg(capsys: pytest.CaptureFixture, *words: str) -> str:
    """The output of a command, which must succeed."""
    code = cli.main(list(words))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def test_a_domain_of_ones_own_is_trained_on_tested_and_drawn(project, capsys, monkeypatch) -> None:
    """A layout and four classes of its own; the run alone is then tested and predicts."""
    folder = project("own_domain")
    monkeypatch.setattr("sys.argv", ["draw", "data"])
    runpy.run_module("myproject.draw", run_name="__main__")
    ibnseg(capsys, "train", "configs/mine.py", "--work-dir", "run", "--cfg-options", *TINY)
    record = json.loads(Path("run/results.json").read_text())
    assert [test["domain"] for test in record["tests"]] == ["mine", "mine_dusk"]
    for test in record["tests"]:
        assert test["classes"] == ["track", "train", "plants", "sky"]
        confusion = np.array(test["confusion"])
        assert confusion.shape == (4, 4)
        # four frames of 96x64, of which the first two rows are not labelled; trains are 20 x 26
        assert confusion.sum() == 4 * 62 * 96
        assert confusion[1].sum() == 4 * 20 * 26
    Path("configs/mine.py").unlink()
    assert "Rail at dusk" in ibnseg(capsys, "test", "run", "--domains", "mine_dusk")
    frame = folder / "data" / "mine" / "east" / "0.jpg"
    ibnseg(capsys, "predict", "run", str(frame), "--out", "predicted")
    from myproject.rail import RAIL

    with Image.open("predicted/labels/0.png") as image:
        colors = {color for _, color in image.convert("RGB").getcolors()}
    assert image.size == (96, 64)
    assert colors <= {*RAIL.palette}


def test_a_method_of_ones_own_trains_in_two_phases_and_is_resumed_exactly(project, capsys) -> None:
    """Selective whitening on a second view: measured for two steps, then a loss."""
    folder = project("own_method")
    write_streets(folder / "data", {"virtual": (4, 2, 0), "real": (0, 2, 0)}, size=(64, 64))
    options = [
        *TINY,
        "iterations=4",
        "checkpoint_interval=1",
        "keep_checkpoints=9",
        "log_interval=1",
        "model.further_losses.0.channels=8",
        "custom_hooks.0.begin=2",
    ]
    command = ["train", "configs/mine.py", "--domains", "streets_virtual", "--cfg-options"]
    ibnseg(capsys, *command, *options, "--work-dir", "whole")
    log = next(Path("whole").glob("*/vis_data/scalars.json")).read_text()
    rows = [json.loads(line) for line in log.splitlines()]
    whitened = {row["step"] for row in rows if row.get("further_0.loss_whitening", 0) > 0}
    assert whitened == {3, 4}
    Path("resumed/checkpoints").mkdir(parents=True)
    for name in ("config.py", "checkpoints/iter_1.pth"):
        shutil.copy(f"whole/{name}", f"resumed/{name}")
    Path("resumed/latest.pth").symlink_to("checkpoints/iter_1.pth")
    ibnseg(capsys, *command, *options, "--work-dir", "resumed", "--resume")
    whole, resumed = (
        torch.load(f"{run}/checkpoints/iter_4.pth", weights_only=True)
        for run in ("whole", "resumed")
    )
    assert same(whole["state_dict"], resumed["state_dict"])
    chosen = whole["state_dict"]["further_losses.0.chosen"]
    assert chosen.sum() == 3  # a tenth of 28
    assert "Real streets" in ibnseg(capsys, "test", "whole", "--domains", "streets_real")


STREETS = ("streets_virtual", "streets_real")


@pytest.fixture
def streets(data: Path) -> list[str]:
    """Miniature data in the layouts of the streets, in a command's words."""
    folders = zip(STREETS, ("gta5", "cityscapes"), strict=True)
    return ["--data-root", ",".join(f"{name}={data / folder}" for name, folder in folders)]


BRIEF = ("iterations=2", "batch=2", "workers=0", "crop_size=(64,64)")


def test_a_backbone_of_ones_own_is_compared_with_its_plain_form(project, streets, capsys) -> None:
    project("own_backbone")
    for name in ("mobile_plain", "mobile"):
        ibnseg(capsys, "train", f"configs/{name}.py", *streets, "--cfg-options", *BRIEF)
    table = ibnseg(capsys, "matrix", "work_dirs/mobile_plain", "work_dirs/mobile")
    assert "MobileNetV3 with IBN" in table
    weights = torch.load("work_dirs/mobile/latest.pth", weights_only=True)["state_dict"]
    instances = {key.split(".")[2] for key in weights if ".IN." in key}
    assert instances == {"0", "1", "2", "3"}


def test_a_metric_of_ones_own_is_in_results_and_matrix(
    project, streets, capsys, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: METRICS.pop("overlooked", None))
    project("own_metric")
    ibnseg(capsys, "train", "configs/mine.py", *streets, "--cfg-options", *TINY)
    tests = json.loads(Path("work_dirs/mine/results.json").read_text())["tests"]
    car, road = CLASSES.index("car"), CLASSES.index("road")
    for test in tests:
        cars = test["confusion"][car]  # the only road users of these scenes
        assert test["metrics"]["overlooked"] == cars[road] / sum(cars)
    words = ("matrix", "work_dirs/mine", "--metric", "overlooked", "--format", "json")
    shown = json.loads(ibnseg(capsys, *words, "--import", "mymetric"))
    cells = shown["matrices"][0]["blocks"][0]["rows"][0]["cells"]
    assert [cell["value"] for cell in cells] == [test["metrics"]["overlooked"] for test in tests]


FOREIGN = {
    "A network of torchvision": ("torchvision_net_deeplab", ()),
    "A network of segmentation-models-pytorch": ("smp_net_unet", ("segmentation_models_pytorch",)),
    "An ONNX file": ("unet", ("segmentation_models_pytorch", "onnxruntime", "onnxscript")),
    "A network of Hugging Face": ("segformer", ("transformers",)),
    "Label maps": ("predictions", ()),
}
"""By the heading of its section in the README, where results of a foreign network go, and which
packages it needs."""

LABELLED = np.isin(np.arange(256), [id_ for id_, own in CITYSCAPES_IDS.items() if own != 255])
"""Whether an id of Cityscapes counts, by id."""


def commands_of(readme: Path, heading: str) -> list[list[str]]:
    """The commands in a README before its first section and in one of them, as words."""
    first, *sections = readme.read_text().split("\n## ")
    named = {section.split("\n")[0]: section for section in sections}
    text = first + named[heading]
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE)]


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch):
    """What is imported from the working folder is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(Path.cwd())):
            del sys.modules[name]


@pytest.mark.parametrize(
    "heading",
    [
        pytest.param(heading, marks=[pytest.mark.extras] if packages else [])
        for heading, (_, packages) in FOREIGN.items()
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_a_network_that_was_not_trained_here_is_tested(
    heading: str, project, capsys, monkeypatch
) -> None:
    name, packages = FOREIGN[heading]
    for package in packages:
        pytest.importorskip(package)
    folder = project("foreign_model")
    for program, *words in commands_of(folder / "README.md", heading):
        if program == "ibnseg":
            ibnseg(capsys, *words)
        else:
            monkeypatch.setattr("sys.argv", words)
            runpy.run_path(words[0], run_name="__main__")
    results = json.loads(Path("work_dirs", name, "results.json").read_text())
    (test,) = results["tests"]
    assert test["domain"] == "streets_real"
    assert test["images"] == 4
    labels = Path("data/streets_real/gtFine/val").rglob("*_labelIds.png")
    labelled = sum(np.count_nonzero(LABELLED[np.asarray(Image.open(path))]) for path in labels)
    assert np.sum(test["confusion"]) == labelled
