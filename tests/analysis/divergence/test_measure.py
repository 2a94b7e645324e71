"""``ibnseg divergence``: from runs to files, and what is refused before any image is read."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibnseg import cli, load
from ibnseg.analysis.divergence.features import feature_moments
from ibnseg.analysis.divergence.formula import divergence
from ibnseg.analysis.divergence.measure import measure_divergence
from ibnseg.appearance import PAPER
from ibnseg.support.errors import UserError
from tests.conftest import GTA5_VAL

LAYERS = ["stem", *(f"layer{i}.{j}" for i in range(1, 5) for j in range(2))]


@pytest.fixture
def run(trained, in_data: Path) -> Path:
    return trained[1]


def stored(data: Path, pattern: str) -> list[np.ndarray]:
    return [np.array(Image.open(path).convert("RGB"))[None] for path in sorted(data.glob(pattern))]


def gta5(data: Path) -> list[np.ndarray]:
    return [image for frame in GTA5_VAL for image in stored(data, f"gta5/images/{frame:05d}.png")]


def test_two_domains_diverge_as_their_stored_images_do(run: Path, data: Path, capsys) -> None:
    """The command's numbers are the function's over the stored images; the files say the same."""
    line = ["divergence", str(run), "--domains", "gta5,cityscapes", "--out", "out"]
    assert cli.main(line) == 0
    printed = capsys.readouterr().out
    result = json.loads(Path("out/divergence.json").read_text())
    assert result["kind"] == "appearance"
    assert [(s["domain"], s["images"]) for s in result["sets"]] == [("gta5", 5), ("cityscapes", 5)]
    network = load(run)
    expected = divergence(
        feature_moments(network, gta5(data), key=(0, 0)),
        feature_moments(network, stored(data, "cityscapes/leftImg8bit/val/*/*.png"), key=(0, 1)),
    )
    (record,) = result["runs"]
    assert [layer["layer"] for layer in record["layers"]] == LAYERS
    for found, own in zip(record["layers"], expected, strict=True):
        assert found["divergence"] == pytest.approx(own.divergence, rel=1e-6)
        assert found["interval"] == pytest.approx(own.interval, rel=1e-6)
        assert f" {own.layer} {own.divergence:.3g} [" in re.sub(" +", " ", printed)
        assert found["constant"] == [list(channels) for channels in own.constant]
    with open("out/divergence.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["divergence"]) for row in rows] == pytest.approx(
        [layer["divergence"] for layer in record["layers"]], rel=1e-12
    )
    assert [int(row["constant_b"]) for row in rows] == [len(x.constant[1]) for x in expected]
    assert {(row["seeds"], row["ratio"]) for row in rows} == {("0", "")}
    width, height = Image.open("out/divergence.png").size
    assert width > height > 500
    assert "layer4" in Path("out/divergence.svg").read_text()
    assert "Divergence: out/divergence.png" in printed
    assert "| stem " in Path("out/divergence.md").read_text()


def test_a_domain_diverges_from_its_changed_copy(run: Path, data: Path) -> None:
    changed = measure_divergence([run], ["gta5"], "out", transform="R+50")
    network = load(run)
    copies = [PAPER["R+50"](image.astype(np.float32)) for image in gta5(data)]
    expected = divergence(feature_moments(network, gta5(data)), feature_moments(network, copies))
    for found, own in zip(changed["runs"][0]["layers"], expected, strict=True):
        assert found["divergence"] == pytest.approx(own.divergence, rel=1e-4)
    assert [s["transform"] for s in changed["sets"]] == [None, "R+50"]
    same = measure_divergence([run], ["gta5"], "out", transform="origin")
    for layer in same["runs"][0]["layers"]:
        assert layer["divergence"] == pytest.approx(0, abs=1e-6)


def test_images_are_divided_by_their_classes(run: Path, data: Path) -> None:
    """Images divide by their classes; all scenes have buildings, of under half of their pixels."""
    with pytest.raises(UserError, match="--content: 5 and 0 images with and without it, expected"):
        measure_divergence([run], ["gta5"], "out", content="building")
    with pytest.raises(UserError, match="--content: 0 and 5 images"):
        measure_divergence([run], ["gta5"], "out", content="building", min_share=0.5)
    root = Path.cwd() / "mixed"
    shutil.copytree(data / "gta5", root)
    for frame in GTA5_VAL[:2]:
        label = np.array(Image.open(root / "labels" / f"{frame:05d}.png"))
        label[label == 26] = 28  # cars become buses
        Image.fromarray(label).save(root / "labels" / f"{frame:05d}.png")
    result = measure_divergence(
        [run], ["gta5"], "out", content="car and not bus", roots={"gta5": str(root)}
    )
    assert [s["images"] for s in result["sets"]] == [3, 2]
    assert [s["content"] for s in result["sets"]] == ["car and not bus", "not (car and not bus)"]
    network = load(run)
    with_bus, with_car = gta5(data)[:2], gta5(data)[2:]
    expected = divergence(feature_moments(network, with_car), feature_moments(network, with_bus))
    for found, own in zip(result["runs"][0]["layers"], expected, strict=True):
        assert found["divergence"] == pytest.approx(own.divergence, rel=1e-6)


def copied(run: Path, to: Path, **options: str) -> Path:
    """The run under another name."""
    shutil.copytree(run, to)
    config = to / "config.py"
    lines = [f"{key} = {value!r}\n" for key, value in options.items()]
    config.write_text(config.read_text() + "".join(lines))
    return to


def test_networks_of_one_title_are_told_apart(run: Path, tmp_path: Path) -> None:
    """Networks of one title are told apart by their names, and the same images give the same."""
    other = copied(run, tmp_path / "again", name="again")
    result = measure_divergence(
        [run, other], ["gta5", "cityscapes"], "out", layers=["backbone.layer?"]
    )
    first, second = result["networks"]
    assert second["name"] == f"{result['runs'][0]['title']} (again)"
    assert first["name"] != second["name"]
    assert [x["divergence"] for x in first["layers"]] == [x["divergence"] for x in second["layers"]]
    assert [x["layer"] for x in first["layers"]] == [f"backbone.layer{i}" for i in range(1, 5)]
    assert [x["ratio"] for x in first["layers"]] == [None] * 4
    for layer in second["layers"]:
        assert (layer["ratio"], *layer["ratio_interval"]) == pytest.approx((1, 1, 1))
    assert "again" in Path("out/divergence.svg").read_text()
    assert "1 [1, 1]" in Path("out/divergence.md").read_text()


def test_seeds_of_a_network_are_one_line(run: Path, tmp_path: Path) -> None:
    """They are one line, and the mean of two that are alike is either."""
    other = copied(run, tmp_path / "seed1")
    checkpoint = torch.load(other / "latest.pth", weights_only=False)
    checkpoint["meta"]["seed"] = 1
    torch.save(checkpoint, other / "latest.pth")
    result = measure_divergence(
        [run, other], ["gta5", "cityscapes"], "out", layers=["backbone.layer?"]
    )
    (network,) = result["networks"]
    assert network["seeds"] == [0, 1]
    for layer, *runs in zip(network["layers"], *(r["layers"] for r in result["runs"]), strict=True):
        for one in runs:
            assert layer["divergence"] == pytest.approx(one["divergence"], rel=1e-12)
            assert layer["interval"] == pytest.approx(one["interval"], rel=1e-6)
        assert layer["constant"] == [2 * len(channels) for channels in runs[0]["constant"]]


def test_wrong_input_is_refused_before_any_image_is_read(run: Path) -> None:
    for domains, kwargs, message in (
        (["gta5"], {}, "divergence: found 1 domains; expected two domains, or one with"),
        (["gta5", "camvid"], dict(transform="R+50"), "found 2 domains with --transform; expected"),
        (["gta5", "camvid"], dict(content="car"), "found 2 domains with --content; expected"),
        (["gta5"], dict(content="car", transform="R+50"), "with --transform with --content; exp"),
        (["gta5"], dict(transform="RGB+5"), "unknown transform 'RGB.5'; did you mean RGB.50"),
        (["gta5"], dict(content="carr"), "unknown class in --content 'carr'; did you mean car"),
        (["gta5", "gta"], {}, "unknown domain 'gta'; did you mean gta5"),
        (["gta5", "gta5"], {}, "divergence: domain 'gta5' is named twice"),
        (["gta5", "camvid"], dict(layers=["layer9"]), "unknown layer of the network 'layer9'"),
        (["gta5", "camvid"], dict(roots={"gta": "x"}), "unknown name in --data-root 'gta'"),
    ):
        with pytest.raises(UserError, match=message):
            measure_divergence([run], domains, "out", **kwargs)
        assert not Path("out").exists(), message


def test_a_run_given_twice_and_no_run_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match="both are trained with seed 0; give one of them"):
        measure_divergence([run, run], ["gta5", "camvid"], "out")
    with pytest.raises(UserError, match="is not a run folder"):
        measure_divergence([run.parent], ["gta5", "camvid"], "out")
