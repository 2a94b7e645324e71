"""One network, brought into the house in several ways, has the same numbers in all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ibnseg import cli
from ibnseg.datasets.labels import CLASSES

FACTS = dict(
    title="Whole numbers",
    classes=CLASSES,
    channels="RGB",
    range=255,
    mean=[128, 128, 128],
    std=[1, 1, 1],
    trained_on="nothing",
)
MODULE = f"""
import torch


def build():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 19, 3, stride=2, padding=1)
    for each in network.parameters():
        each.data = torch.randint(-4, 5, each.shape).float()
    return network


build.facts = {FACTS}
"""
"""A network of whole numbers: on whole pixels, its logits are exact in any order of sums, and so
are their means, as they are upsampled by two."""


@pytest.fixture
def network(in_data: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The network, whose module is ``wholenet.py`` in the working folder."""
    Path("wholenet.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(in_data))
    import wholenet

    yield wholenet.build().eval()
    del sys.modules["wholenet"]


def confusion(source: str) -> list:
    """The confusion matrix of a network on the miniature Cityscapes."""
    assert cli.main(["test", source, "--domains", "cityscapes", "--work-dir", "tested"]) == 0
    (test,) = json.loads(Path("tested/results.json").read_text())["tests"]
    Path("tested/results.json").unlink()
    return test["confusion"]


@torch.inference_mode()
def write_label_maps(network: torch.nn.Module, images: Path) -> None:
    """Writes train ids as a program without this package would do it."""
    for path in images.rglob("*.png"):
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] - 128.0
        logits = F.interpolate(network(pixels), pixels.shape[2:], mode="bilinear")
        out = Path("predictions", path.relative_to(images))
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(logits.argmax(1)[0].byte().numpy()).save(out)


def test_label_maps_have_the_confusion_of_the_network_that_wrote_them(
    network: torch.nn.Module, data: Path
) -> None:
    write_label_maps(network, data / "cityscapes/leftImg8bit/val")
    found = confusion("wholenet:build")
    assert np.count_nonzero(np.sum(found, axis=0)) > 5  # predicted classes
    assert confusion("predictions:predictions") == found


@pytest.mark.usefixtures("network")
def test_the_folder_of_its_results_names_a_network_that_is_tested_again() -> None:
    words = ["--domains", "cityscapes"]
    assert cli.main(["test", "wholenet:build", *words, "--work-dir", "tested"]) == 0
    assert cli.main(["test", "tested", *words, "--protocol", "short1024"]) == 0
    tests = json.loads(Path("tested/results.json").read_text())["tests"]
    assert [test["protocol"]["name"] for test in tests] == ["native", "short1024"]
    assert not Path("work_dirs").exists()


@pytest.mark.extras
def test_an_onnx_file_has_the_confusion_of_the_network_that_it_was_made_of(
    network: torch.nn.Module,
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sides = {2: torch.export.Dim("rows"), 3: torch.export.Dim("columns")}
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 48, 64),),
        "whole.onnx",
        dynamic_shapes=[{0: torch.export.Dim("images"), **sides}],
        dynamo=True,
        verbose=False,
    )
    Path("whole.json").write_text(json.dumps(FACTS))
    assert confusion("whole.onnx") == confusion("wholenet:build")
