"""Networks that were not trained here: what they are shown, and what becomes of their output."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ibnseg import cli, load, predict
from ibnseg.datasets.labels import CLASSES
from ibnseg.datasets.pictures import read_label
from ibnseg.evaluation import results
from ibnseg.networks.sources import find_source
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene
from tests.networks.foreign import FACTS, RUN, own_module


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained):
    """A function that makes the network of the trained run somebody else's; ``more`` is code."""
    stack = []

    def make(more: str = "", name: str = "theirs", **facts: object) -> str:
        text = RUN.format(run=str(trained[1])) + more
        context = own_module(tmp_path, text, {**FACTS, **facts}, monkeypatch, name)
        stack.append(context)
        return context.__enter__()

    yield make
    for context in stack:
        context.__exit__(None, None, None)


@pytest.fixture
def tested(data: Path, tmp_path: Path) -> Callable[..., dict]:
    roots = {name: str(data / name) for name in ("gta5", "cityscapes", "camvid")}

    def test(source: str, **kwargs: object) -> dict:
        kwargs = dict(dict(domains=["gta5", "cityscapes"]), **kwargs)
        return run_test(source, roots=roots, **kwargs)

    return test


def confusions(content: dict) -> list[list]:
    return [test["confusion"] for test in content["tests"]]


def test_a_network_is_counted_as_the_run_that_it_is(theirs, tested, trained, tmp_path) -> None:
    content = tested(theirs())
    assert confusions(content) == confusions(trained[2])
    run = content["run"]
    assert (run["title"], run["train_domain"], run["source"]) == ("Theirs", "gta5", "Python")
    assert run["facts"]["classes"] == list(CLASSES)
    assert content == results.read(tmp_path / "work_dirs/theirs_build/results.json")
    assert "without" not in content["tests"][0]


def test_the_folder_of_its_results_names_the_network_too(theirs, tested, tmp_path) -> None:
    before = tested(theirs())
    again = tested(str(tmp_path / "work_dirs/theirs_build"), domains=["camvid"])
    assert again["run"]["foreign"] == before["run"]["foreign"]
    assert len(again["tests"]) == 3


SWAPPED = """
class Swapped(Logits):
    def forward(self, images):
        return super().forward(images)[:, list(range(18, -1, -1))]

def build():
    return Swapped()
"""


def test_classes_in_another_order_and_under_other_names(theirs, tested, trained) -> None:
    names = ["street" if name == "road" else name for name in reversed(CLASSES)]
    content = tested(theirs(SWAPPED, classes=names, class_map=dict(street="road")))
    assert confusions(content) == confusions(trained[2])


IDS = """
class Ids(Logits):
    def forward(self, images):
        logits = super().forward(images)
        size = images.shape[2:]
        return torch.nn.functional.interpolate(logits, size, mode="bilinear").argmax(1)

def build():
    return Ids()
"""


def test_a_network_may_give_classes(theirs, tested, trained) -> None:
    content = tested(theirs(IDS, gives="classes"))
    assert confusions(content) == confusions(trained[2])


CALLABLE = """
import numpy as np

def build():
    network = Logits()
    def predict(images):
        assert images.dtype == torch.float32
        return network(images / 255).numpy()
    return predict
"""


def test_a_plain_function_may_take_images_of_another_range(theirs, tested, trained) -> None:
    facts = {key: [value / 255 for value in FACTS[key]] for key in ("mean", "std")}
    scaled = CALLABLE.replace(" / 255", "")
    content = tested(theirs(scaled, range=1, **facts))
    for found, wanted in zip(confusions(content), confusions(trained[2]), strict=True):
        moved = np.abs(np.subtract(found, wanted)).sum()  # (x / 255 - m) / s is rounded differently
        assert moved <= 4


def test_windows_and_augmentation_are_those_of_the_run(theirs, tested, trained, tmp_path) -> None:
    windows = [
        "model.test_cfg.mode=slide",
        "model.test_cfg.crop_size=(32,32)",
        "model.test_cfg.stride=(16,16)",
    ]
    for kwargs in (dict(options=windows), dict(tta=True)):
        own = tested(trained[1], work_dir=tmp_path / "own", **kwargs)
        assert confusions(tested(theirs(), work_dir=tmp_path / "a", **kwargs)) == confusions(own)


def test_a_network_of_fewer_classes_is_averaged_over_what_both_have(theirs, tested) -> None:
    fewer = """
def build():
    network = Logits()
    return lambda images: network(images)[:, :3]
"""
    content = tested(theirs(fewer, classes=["road", "sidewalk", "building"]))
    (test, _) = content["tests"]
    assert test["eval_classes"] == ["road", "sidewalk", "building"]
    assert test["without"] == [name for name in CLASSES if name not in test["eval_classes"]]
    counts = np.array(test["confusion"])
    assert counts[:, 3:].sum() == 0 < counts[3:].sum()
    hit = np.diagonal(counts)[:3]
    iou = hit / (counts.sum(0)[:3] + counts.sum(1)[:3] - hit)
    assert test["mIoU"] == pytest.approx(np.nanmean(iou), abs=1e-12)


STRIDE = """
def build():
    network = Logits()
    def forward(images):
        assert images.shape[2] % 28 == images.shape[3] % 28 == 0
        assert (images[:, :, 48:] == 0).all()
        return network(images)
    return forward
"""


def test_images_are_padded_with_the_mean_to_a_stride(theirs, tested) -> None:
    test = tested(theirs(STRIDE, stride=28))["tests"][0]
    assert np.sum(test["confusion"]) == 5 * 64 * 47  # a row is ignored


SIZE = """
def build():
    network = Logits()
    def forward(images):
        assert tuple(images.shape[2:]) == (40, 80)
        return network(images)
    return forward
"""


def test_images_are_resized_to_the_size_that_a_network_takes(theirs, tested) -> None:
    test = tested(theirs(SIZE, size=[40, 80]))["tests"][0]
    assert np.sum(test["confusion"]) == 5 * 64 * 47


WRONG = {
    "return network(images)[:, :7]": "gave 7 channels, but its facts name 19 classes",
    "return network(images)[0]": r"gave an array of shape \(19, .*expected \(N, 19, h, w\)",
    "return network(images) * float('nan')": "gave logits that are not finite numbers",
    "return network(images).argmax(1)": r"torch.int64, expected .*\(gives: logits\)",
    "return [network(images)]": r"gave a list, expected",
}


@pytest.mark.parametrize("line", WRONG)
def test_output_that_contradicts_the_facts_is_refused(line: str, theirs, tested) -> None:
    text = f"""
def build():
    network = Logits()
    def forward(images):
        {line}
    return forward
"""
    with pytest.raises(UserError, match=WRONG[line]):
        tested(theirs(text), domains=["gta5"])


def test_a_class_beyond_the_facts_is_refused(theirs, tested) -> None:
    text = """
def build():
    return lambda images: torch.full((len(images), 4, 4), 19)
"""
    with pytest.raises(UserError, match="gave class 19, but its facts name 19 classes, 0 to 18"):
        tested(theirs(text, gives="classes"), domains=["gta5"])


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        (dict(protocols=["native", "rein"]), "protocol rein needs logits"),
        (dict(tta=True), "test-time augmentation needs logits"),
        (dict(options=["metrics=['calibration']"]), "metrics of logits"),
    ],
)
def test_what_needs_logits_is_refused_before_the_first_image(
    kwargs: dict, reason: str, theirs, tested
) -> None:
    with pytest.raises(UserError, match=f"gives classes, and {reason}"):
        tested(theirs(IDS, gives="classes"), **kwargs)


def test_a_plain_function_refuses_another_precision(theirs, tested) -> None:
    with pytest.raises(UserError, match="runs in a precision of its own"):
        tested(theirs(CALLABLE), precision="bfloat16", domains=["gta5"])


def test_a_file_refuses_another_precision(tested, tmp_path: Path) -> None:
    network = torch.nn.Conv2d(3, len(CLASSES), 1)
    program = torch.export.export(network, (torch.zeros(1, 3, 48, 64),))
    torch.export.save(program, tmp_path / "x.pt2")
    (tmp_path / "x.json").write_text(json.dumps(FACTS))
    with pytest.raises(UserError, match="x.pt2: runs in a precision of its own"):
        tested(str(tmp_path / "x.pt2"), precision="bfloat16", domains=["gta5"])


@pytest.mark.parametrize(
    "option",
    ["model.facts.range=1", "model.data_preprocessor.bgr_to_rgb=False", "foreign.sha256=x"],
)
def test_options_do_not_change_what_is_known_of_a_network(option: str, theirs, tested) -> None:
    with pytest.raises(UserError, match=f"option '{option.split('=')[0]}' cannot be set; state"):
        tested(theirs(), options=[option])


def test_a_refused_test_leaves_no_folder(theirs, tested, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gave 19 channels, but its facts name 18 classes"):
        tested(theirs(classes=CLASSES[:-1]), work_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_class_in_common_is_refused(theirs, tested) -> None:
    with pytest.raises(UserError, match="the network has none of these, but direct, "):
        tested(theirs(classes=["direct", "alternative"]))


def test_predictions_and_layers_are_those_of_the_network(theirs, trained) -> None:
    network, own, image = load(theirs()), load(trained[1]), scene(3)[0]
    assert np.array_equal(predict(network, image), predict(own, image))
    for found, wanted in zip(predict(network, image, True), predict(own, image, True), strict=True):
        assert np.array_equal(found, wanted)
    assert isinstance(network.backbone, torch.nn.Module)


def test_another_network_of_the_same_name_is_refused(theirs, tested, trained, tmp_path) -> None:
    tested(theirs(), domains=["gta5"], work_dir=tmp_path / "results")
    other = theirs(name="others")
    with pytest.raises(UserError, match="results of theirs:build, and others:build is another"):
        tested(other, domains=["gta5"], work_dir=tmp_path / "results")
    shutil.copytree(trained[1], tmp_path / "run")
    with pytest.raises(UserError, match="holds the results of the run trained"):
        tested(other, domains=["gta5"], work_dir=tmp_path / "run")


def test_its_results_stand_in_lists_and_in_the_matrix(theirs, tested, trained, capsys) -> None:
    source = theirs()
    tested(source)
    assert cli.main(["runs", "work_dirs"]) == 0
    assert "work_dirs/theirs_build  not trained here  mIoU gta5 " in capsys.readouterr().out
    assert cli.main(["matrix", str(trained[1]), source, "--format", "csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    scores = {(row[7], row[9]): row[12] for row in rows if row[0] == "cell" and not row[6]}
    assert scores["theirs_build", "gta5"] == scores["trained", "gta5"]


def test_commands_that_take_runs_take_it(theirs, trained, in_data, tmp_path, capsys) -> None:
    """Robustness, divergence and predictions are those of the run."""
    source, run = theirs(), str(trained[1])
    for name, network in (("a", source), ("b", run)):
        out = ["--domains", "gta5", "--out", str(tmp_path / f"robust_{name}")]
        assert (
            cli.main(["robustness", network, *out, "--conditions", "RGB+50", "--severities", "1"])
            == 0
        )
        out = ["--domains", "gta5,cityscapes", "--out", str(tmp_path / f"divergence_{name}")]
        layer = "backbone.layer1.0" if network == run else "network.segmentor.backbone.layer1.0"
        assert cli.main(["divergence", network, *out, "--layers", layer]) == 0
        out = [str(in_data / "images"), "--out", str(tmp_path / f"predictions_{name}")]
        (in_data / "images").mkdir(exist_ok=True)
        save_rgb(in_data / "images" / "a.png", scene(3)[0])
        assert cli.main(["predict", network, *out]) == 0
    robust = [json.loads((tmp_path / f"robust_{x}/robustness.json").read_text()) for x in "ab"]
    own, other = ([record["mIoU"] for record in each["records"]] for each in robust)
    assert own == other
    found = [json.loads((tmp_path / f"divergence_{x}/divergence.json").read_text()) for x in "ab"]
    own, other = ([layer["divergence"] for layer in each["runs"][0]["layers"]] for each in found)
    assert own == other
    maps = [read_label(tmp_path / f"predictions_{x}/labels/a.png") for x in "ab"]
    assert np.array_equal(*maps)


def test_label_maps_are_refused_where_images_are_shown(in_data, capsys) -> None:
    for line in (
        "predict predictions:maps images",
        "robustness predictions:maps --domains gta5",
        "divergence predictions:maps --domains gta5,cityscapes",
        "export predictions:maps --full --out a.pth",
    ):
        assert cli.main(line.split()) == 1
        assert "predictions:maps: label maps can only be tested" in capsys.readouterr().err


def test_what_was_not_trained_here_is_neither_exported_nor_pushed(theirs, tested, capsys) -> None:
    source = theirs()
    tested(source, domains=["gta5"])
    for named in (source, "work_dirs/theirs_build"):
        for line in (
            "export {} --full --out a.pth",
            "export {} --to torch --out a.pt2",
            "push {} --out a",
        ):
            assert cli.main(line.format(named).split()) == 1
            assert f"{named}: was not trained here; expected the" in capsys.readouterr().err


def test_domains_have_to_be_named(theirs, capsys) -> None:
    assert cli.main(["test", theirs()]) == 1
    assert "so it has no test domains of its own; name them (--domains A,B)" in (
        capsys.readouterr().err
    )


def test_an_exported_file_of_a_selected_checkpoint_stays_marked(trained, tmp_path: Path) -> None:
    save_rgb(tmp_path / "photo.png", scene(3)[0])
    best = shutil.copy(trained[1] / "latest.pth", tmp_path / "best_mIoU_iter_8.pth")
    file = str(tmp_path / "x.pt2")
    words = ["--to", "torch", "--out", file, "--images", str(tmp_path)]
    assert cli.main(["export", str(trained[1]), str(best), *words]) == 0
    assert find_source(file).cfg.foreign.selected_on == "unknown"
