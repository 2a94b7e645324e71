"""``ibnseg export --to``: exported files compute what torch does, and say what they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ibnseg import cli, load, predict
from ibnseg.commands import exporting
from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.models import Segmentor
from ibnseg.models.fuse import fuse
from ibnseg.networks import checking, export
from ibnseg.networks.facts import Facts
from ibnseg.networks.formats import FORMATS
from ibnseg.networks.graph import INPUTS, OUTPUTS, Graph, traced
from ibnseg.networks.metadata import read_description
from ibnseg.networks.runtimes import build, configure
from ibnseg.networks.sessions import open_session
from ibnseg.support.errors import UserError
from ibnseg.support.files import sha256
from tests.conftest import scene
from tests.models.test_onnx import NETWORKS

Run = tuple[Path, Path, dict]

TO = [
    "torch",
    pytest.param("onnx", marks=pytest.mark.extras),
    pytest.param("openvino", marks=pytest.mark.extras),
]
"""The formats; those of other packages only where these are installed."""


def exported(run: Path, to: str, folder: Path, *words: str) -> Path:
    """Exports a run by the command, compared with torch on three scenes."""
    for package in FORMATS[to].packages:
        pytest.importorskip(package)
    photographs(folder / "photos")
    out = folder / f"network{FORMATS[to].suffix}"
    line = ["export", str(run), "--to", to, "--out", str(out), "--images", str(folder / "photos")]
    assert cli.main([*line, *words]) == 0
    return out


def photographs(folder: Path, count: int = 3) -> None:
    from tests.conftest import save_rgb

    for i in range(count):
        save_rgb(folder / f"{i}.png", scene(40 + i)[0])


def opened(file: Path) -> tuple[nn.Module, Facts]:
    facts = Facts.of(configure(str(file))["model"]["facts"])
    return build(str(file), facts), facts


@pytest.mark.parametrize("to", TO)
@pytest.mark.parametrize(
    ("takes", "gives"),
    [("rgb", "train-ids"), ("normalised", "logits"), ("rgb", "full-logits")],
)
def test_an_exported_network_predicts_what_it_did_for_any_size_and_number_of_images(
    trained: Run, tmp_path: Path, to: str, takes: str, gives: str
) -> None:
    file = exported(trained[1], to, tmp_path, "--input", takes, "--output", gives)
    network, facts = opened(file)
    for height, width, count in ((48, 64, 1), (83, 41, 3)):
        rng = np.random.default_rng(height)
        images = rng.integers(0, 256, (count, height, width, 3), np.uint8)
        found = network(checking.prepared(list(images), facts))
        pairs = [predict(load(trained[1]), image, probabilities=True) for image in images]
        wanted = torch.stack([torch.from_numpy(shares) for _, shares in pairs])
        if gives == "train-ids":
            assert found.dtype == torch.int64
            shares = wanted.gather(1, found[:, None])
            assert (shares == wanted.amax(1, keepdim=True)).float().mean() > 0.9999
            continue
        assert found.dtype == torch.float32
        if gives == "logits":
            assert found.shape[2:] == (-(-height // 8), -(-width // 8))
            found = nn.functional.interpolate(found, (height, width), mode="bilinear")
        np.testing.assert_allclose(found.softmax(dim=1), wanted, atol=1e-5)


@pytest.mark.parametrize("to", TO)
def test_a_file_says_what_it_is(trained: Run, tmp_path: Path, to: str) -> None:
    _, run, results = trained
    file = exported(run, to, tmp_path, "--output", "logits", "--size", "64x48", "--batch", "2")
    cfg = configure(str(file))
    assert cfg["name"] == "network"
    assert cfg["train_domain"] == "gta5"
    assert cfg["foreign"]["source"] == str(file)
    facts = cfg["model"]["facts"]
    assert facts["classes"] == list(CITYSCAPES.classes)
    assert facts["size"] == [48, 64]
    assert (facts["channels"], facts["range"]) == ("RGB", 255)
    assert (facts["mean"], facts["std"]) == ([0.0] * 3, [1.0] * 3)  # it normalises itself
    says = read_description(open_session(file).metadata, "")
    assert says["network"]["mean"] == [123.675, 116.28, 103.53]
    assert says["palette"] == [list(color) for color in CITYSCAPES.palette]
    assert (says["takes"], says["gives"], says["batch"]) == ("rgb", "logits", 2)
    assert (says["protocol"], says["inference"]) == (["native"], "whole")
    provenance = says["provenance"]
    assert provenance["checkpoint_sha256"] == sha256(run / "latest.pth")
    assert provenance["recipe"] == results["run"]["recipe"]["hash"]
    assert (provenance["iteration"], provenance["name"]) == (60, "trained")
    (port,) = open_session(file).inputs
    assert (port.dtype, port.shape) == ("uint8", (2, 3, 48, 64))


@pytest.mark.parametrize("to", TO)
def test_a_file_of_fixed_batch_takes_any_number_of_images(
    trained: Run, tmp_path: Path, to: str
) -> None:
    network, facts = opened(exported(trained[1], to, tmp_path, "--batch", "2"))
    images = [scene(i)[0] for i in range(3)]
    found = network(checking.prepared(images, facts))
    for ids, image in zip(found, images, strict=True):
        assert (ids.numpy() == predict(load(trained[1]), image)).mean() > 0.999


@pytest.mark.parametrize("to", TO)
def test_normalised_input_is_described_by_mean_and_std(
    trained: Run, tmp_path: Path, to: str
) -> None:
    _, facts = opened(exported(trained[1], to, tmp_path, "--input", "normalised"))
    assert facts.mean == (123.675, 116.28, 103.53)
    assert facts.std == (58.395, 57.12, 57.375)


ROTARY = "a ViT with rotary positions"
"""Has positions that torch traces for one size alone."""


@pytest.mark.parametrize("to", TO)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_exported_with_the_padding_that_it_needs(
    name: str, to: str, tmp_path: Path
) -> None:
    """For any size; of what OpenVINO computes for ViTs with random weights, only a part is as
    exact as what the command accepts."""
    form = FORMATS[to]
    for package in (*form.packages, *(["timm"] if "ViT" in name else [])):
        pytest.importorskip(package)
    network = NETWORKS[name]()
    network.data_preprocessor = preprocessor(network)
    images = noise()[:1] if name == ROTARY else noise()
    wanted = [reference(network, image) for image in images]
    graph = Graph(fuse(network), "normalised", "full-logits")
    size = images[0].shape[2:] if name == ROTARY else None
    file = tmp_path / f"x{form.suffix}"
    form.save(form.convert(traced(graph, size, None)), file, "{}")
    session = open_session(file)
    for image, logits in zip(images, wanted, strict=True):
        found = session.run(image, 0)
        assert found.shape == logits.shape
        difference = float((found - logits).abs().max() / logits.abs().max())
        print(f"{name}, {to}, {tuple(image.shape)}: {difference:.1e}")
        assert difference < (5e-3 if to == "openvino" else 1e-4)


def test_a_network_that_is_traced_for_one_size_alone_needs_it() -> None:
    pytest.importorskip("timm")
    network = NETWORKS[ROTARY]()
    network.data_preprocessor = preprocessor(network)
    with pytest.raises(UserError, match=r"cannot trace .* try it with a fixed --size WxH"):
        traced(Graph(fuse(network), "rgb", "train-ids"), None, None)


def noise() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((1, 3, 75, 131), (3, 3, 64, 96))]


def preprocessor(network: Segmentor) -> nn.Module:
    """Pads images to what patches fill."""
    from ibnseg.registry import MODELS

    divisor = getattr(network.backbone, "patch_size", 1)
    return MODELS.build(dict(type="ibnseg.Preprocessor", test_cfg=dict(size_divisor=divisor)))


@torch.no_grad()
def reference(network: Segmentor, images: torch.Tensor) -> torch.Tensor:
    """Logits by the network's own padding, upsampling and cropping."""
    from mmseg.structures import SegDataSample

    size, divisor = images.shape[2:], network.data_preprocessor.test_cfg["size_divisor"]
    right, below = (-side % divisor for side in size[::-1])
    meta = dict(ori_shape=size, img_padding_size=(0, right, 0, below))
    samples = [SegDataSample(metainfo=meta) for _ in images]
    network.test_cfg.logits = True
    padded = nn.functional.pad(images, (0, right, 0, below))
    return torch.stack([each.seg_logits.data for each in network.predict(padded, samples)])


# ---- the comparison with torch -----------------------------------------------------------------


def test_images_of_a_test_domain_or_drawn_streets_are_compared(
    trained: Run, in_data: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    line = ["export", str(trained[1]), "--to", "torch", "--out", "x.pt2"]
    assert cli.main(line) == 0
    assert "on 4 images of gta5 (val): largest difference" in capsys.readouterr().out
    monkeypatch.setenv("IBNSEG_DATA", "nowhere")
    assert cli.main(line) == 0
    out = capsys.readouterr().out
    assert "on 4 images of drawn streets: largest difference" in out
    assert f" of {4 * 2 * 512 * 256} pixels of another class" in out


def test_a_file_that_computes_something_else_is_refused_and_not_left_behind(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """One convolution's bias is changed on the way."""
    photographs(tmp_path / "photos")
    out = tmp_path / "x.pt2"
    out.write_text("an earlier export")

    def wrong(network: nn.Module) -> nn.Module:
        bias = fuse(network).decode_head.conv_seg.bias
        bias[0] += 2 * bias.abs().max() + 5
        return network

    monkeypatch.setattr(export, "fuse", wrong)
    for gives in OUTPUTS:
        line = ["export", str(trained[1]), "--to", "torch", "--out", str(out), "--output", gives]
        assert cli.main([*line, "--images", str(tmp_path / "photos")]) == 1
        said = capsys.readouterr().err
        assert f"{out}: differs from torch (largest difference" in said
        assert "expected at most 0.001 and 0.1% of the pixels" in said
        assert out.read_text() == "an earlier export"
        assert {each.name for each in tmp_path.iterdir()} == {"x.pt2", "photos"}


def test_what_differs_is_counted() -> None:
    """Two of eight pixels change; torch's logits of both classes differ by 1 of 4 there."""
    agreement = checking.Agreement(images=1, pixels=8, changed=2, difference=0.25)
    with pytest.raises(Exception, match=r"largest difference 2.5e-01 .*, 2 of 8 pixels"):
        agreement.require("x")
    checking.Agreement(images=1, pixels=10000, changed=10, difference=1e-3).require("x")
    with pytest.raises(Exception, match="differs"):
        checking.Agreement(images=1, pixels=10000, changed=11).require("x")


def test_images_are_spread_over_a_folder() -> None:
    assert checking.evenly_chosen(range(10), 4) == [0, 2, 5, 7]
    assert checking.evenly_chosen(range(3), 4) == [0, 1, 2]
    large = np.zeros((1000, 2048, 3), np.uint8)
    assert checking.resized(large, None).shape == (500, 1024, 3)
    assert checking.resized(large, (48, 64)).shape == (48, 64, 3)


# ---- int8 ---------------------------------------------------------------------------------------


@pytest.mark.extras
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_file_in_int8_is_calibrated_on_a_folder_and_says_what_it_costs(
    trained: Run, in_data: Path, to: str, capsys
) -> None:
    photographs(in_data / "calibration", 5)
    words = ["--int8", "calibration", "--cost", "gta5", "--output", "full-logits"]
    exact = exported(trained[1], to, in_data / "exact", "--output", "full-logits")
    rounded = exported(trained[1], to, in_data / "int8", *words)
    printed = capsys.readouterr().out
    miou = trained[2]["tests"][0]["mIoU"]
    assert f"mIoU on gta5: {miou:.2%} in float32, " in printed
    assert "In int8: largest difference " in printed
    assert "Results: " not in printed
    sizes = [sum(f.stat().st_size for f in each.parent.iterdir() if f.suffix in (".onnx", ".bin"))
             for each in (exact, rounded)]  # fmt: skip
    assert sizes[1] < sizes[0]
    says = read_description(open_session(rounded).metadata, "")
    assert (says["weights"], says["calibrated_on"]) == ("int8", 5)
    image = checking.prepared([scene(3)[0]], opened(exact)[1])
    outputs = [opened(each)[0](image) for each in (exact, rounded)]
    difference = (outputs[1] - outputs[0]).abs().max() / outputs[0].abs().max()
    assert 1e-4 < difference < 0.1  # of 256 steps, in some layers


# ---- the script --------------------------------------------------------------------------------

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "ibnseg", "mmengine", "mmseg", "onnx", "cv2", "PIL"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.extras
@pytest.mark.parametrize("words", [(), ("--input", "normalised", "--output", "full-logits")])
@pytest.mark.parametrize("more", [(), ("--size", "64x48", "--batch", "2")])
def test_the_script_beside_an_onnx_file_needs_numpy_and_onnx_runtime_alone(
    trained: Run, tmp_path: Path, words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    file = exported(trained[1], "onnx", tmp_path, *words, *more)
    script, image = file.with_name("network_run.py"), scene(3)[0]
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/sitecustomize.py").write_text(BLOCKED)
    command = [sys.executable, str(script), str(tmp_path / "image.npy")]
    environment = {"PYTHONPATH": str(tmp_path / "blocked"), "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "image_ids.npy")
    assert (found.dtype, found.shape) == (np.uint8, (48, 64))
    assert (found == predict(load(trained[1]), image)).mean() > 0.999
    assert len(script.read_text().splitlines()) < 45
    shares = np.bincount(found.ravel()) / found.size
    names = [CITYSCAPES.classes[i] for i in np.flatnonzero(shares)]
    assert all(name in done.stdout for name in names)
    done = subprocess.run(command[:2], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[0][:18]) == (1, "expected IMAGE.npy")


# ---- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "torch", "--out", "x.onnx"], "x.onnx: expected a name that ends in .pt2"),
        (["--to", "torch", "--out", "x.pt2", "--size", "0x3"], "width and height of at least 1"),
        (
            ["--full", "--out", "x.pth", "--size", "64x48", "--batch", "1"],
            "--size, --batch cannot be used with --full",
        ),
        (["--to", "torch", "--out", "x.pt2", "--images", "none"], "none: no images"),
        (["--to", "torch", "--out", "x.pt2", "--int8", "x"], "--int8: expected --to onnx"),
        (["--to", "torch", "--out", "x.pt2", "--cost", "gta5"], "give --int8 DIR, too"),
        (
            [
                *("--to", "torch", "--out", "x.pt2", "--cfg-options"),
                "model.data_preprocessor.test_cfg.size=(64,64)",
            ],
            "expected size_divisor alone",
        ),
    ],
)
def test_wrong_input_is_one_line(
    trained: Run, in_data: Path, words: list[str], said: str, capsys
) -> None:
    assert cli.main(["export", str(trained[1]), *words]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(in_data.iterdir()) == []


def test_a_network_that_looks_through_windows_is_exported_for_one_window_alone(
    trained: Run, in_data: Path, capsys
) -> None:
    slide = ["model.test_cfg.mode=slide", "model.test_cfg.crop_size=(32,48)"]
    line = ["export", str(trained[1]), "--to", "torch", "--out", "x.pt2"]
    options = ["--cfg-options", *slide, "model.test_cfg.stride=(32,48)"]
    assert cli.main([*line, *options]) == 1
    assert "through windows of 48x32, which a file does not have" in capsys.readouterr().err
    assert cli.main([*line, "--size", "48x32", *options]) == 0
    says = read_description(open_session(Path("x.pt2")).metadata, "")
    assert says["inference"] == "slide 32x48/32x48"
    assert says["facts"]["size"] == [32, 48]


def test_a_missing_package_is_named(
    trained: Run, in_data: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli.main(["export", str(trained[1]), "--to", "onnx", "--out", "x.onnx"]) == 1
    assert "onnx cannot be imported" in (err := capsys.readouterr().err)
    assert "pip install 'ibnseg[export]'" in err


def test_logits_of_padded_images_are_not_exported_with_normalisation(
    trained: Run, in_data: Path, capsys
) -> None:
    padding = ["--cfg-options", "model.data_preprocessor.test_cfg.size_divisor=32"]
    line = ["export", str(trained[1]), "--to", "torch", "--out", "x.pt2", "--output", "logits"]
    assert cli.main([*line, *padding]) == 1
    assert "take --output full-logits, or --input normalised" in capsys.readouterr().err
    assert cli.main([*line, "--input", "normalised", *padding]) == 0
    assert configure("x.pt2")["model"]["facts"]["stride"] == 32


def test_the_command_offers_what_there_is() -> None:
    assert tuple(FORMATS) == exporting.FORMATS
    assert tuple(INPUTS) == exporting.INPUTS
    assert tuple(OUTPUTS) == exporting.OUTPUTS
