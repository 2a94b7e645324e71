"""``ibnseg imagenet`` from images to a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ibnseg import cli
from ibnseg.analysis.imagenet.measure import measure_imagenet
from ibnseg.appearance import PAPER
from ibnseg.models.classifier import Classifier
from ibnseg.models.names import build_backbone
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb

TEXTURES = {"leaning": 45, "lying": 90, "standing": 0}
"""Kinds of stripes, and by how many degrees they are turned."""
MODEL = "resnet18_ibn_b"


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8: stripes of a kind, in random colours and widths, with noise."""
    dark, light = rng.integers(20, 100, 3), rng.integers(150, 230, 3)
    angle, wave = np.radians(TEXTURES[kind]), rng.integers(16, 24)
    y, x = np.mgrid[:256, :256]
    across = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + rng.uniform(0, 6))
    image = np.where((across > 0)[..., None], light, dark) + rng.normal(0, 6, (256, 256, 3))
    return image.clip(0, 255).astype(np.uint8)


def train(steps: int, batch: int = 12, crop: int = 48) -> dict[str, torch.Tensor]:
    """The network's weights after some steps on small crops, in the published layout."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = Classifier(build_backbone(MODEL), len(TEXTURES)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # so that few steps are enough for its statistics
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pictures = [[draw(kind, rng) for _ in range(8)] for kind in TEXTURES]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        truth = torch.from_numpy(rng.integers(0, len(TEXTURES), batch))
        x, y = rng.integers(0, 256 - crop, 2)
        crops = [pictures[k][rng.integers(8)][y : y + crop, x : x + crop] for k in truth]
        images = torch.from_numpy(np.stack(crops)).float().permute(0, 3, 1, 2)
        loss = nn.functional.cross_entropy(network((images - 115) / 57), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = network.state_dict()
    return {key.removeprefix("backbone."): value for key, value in state.items()}


def test_the_command_measures_a_network_from_images_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Trained for seconds on textures, the network knows new ones, whatever their contrast."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for kind in TEXTURES:
        for i in range(3):
            save_rgb(Path("val", kind, f"{i}.png"), draw(kind, rng))
    save_rgb(Path("styled", "leaning", "0.png"), 255 - draw("leaning", rng))
    torch.save(train(14), "own.pth")
    line = f"imagenet {MODEL} val --checkpoint own.pth --styled styled --workers 2 --batch 5"
    assert cli.main(line.split()) == 0
    told = capsys.readouterr().out
    out = Path("work_dirs", "imagenet", MODEL)
    found = json.loads((out / "imagenet.json").read_text())
    errors = found["errors"]
    print(told, errors)
    assert list(errors) == [*PAPER, "styled"]
    assert errors["origin"]["images"] == 9
    assert errors["origin"]["top1"] <= 25  # chance: 67
    assert errors["origin"]["top5"] == 0  # there are three classes
    assert errors["std x1.5"] == errors["origin"]
    assert errors["styled"]["images"] == 1
    assert found["model"] == MODEL
    assert found["checkpoint"] == "own.pth"
    assert len(found["checkpoint_sha256"]) == 64
    with np.load(out / "ranks.npz") as kept:
        assert kept["ranks"].dtype == np.int16
        assert kept["appearances"].tolist() == list(PAPER)
        assert kept["paths"][0] == "leaning/0.png"
        for look, of_images in zip(PAPER, kept["ranks"], strict=True):
            assert errors[look]["top1"] == 100 * (of_images > 0).mean()
    assert "work_dirs/imagenet/resnet18_ibn_b/imagenet.json" in told
    monkeypatch.setattr(Classifier, "forward", None)  # nothing is shown again
    assert cli.main(line.split()) == 0
    again = capsys.readouterr().out
    assert "9 of 9 images are there already" in again
    assert json.loads((out / "imagenet.json").read_text()) == found
    assert cli.main(line.replace("val ", "styled ").replace("--styled styled", "").split()) == 1
    assert capsys.readouterr().err == (
        "ibnseg: error: styled: has 1 sub-folders, own.pth has 3 classes; expected one sub-folder "
        "for each class\n"
    )


def test_an_unknown_network_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown network 'resnet50_ibna'; did you mean"):
        measure_imagenet("resnet50_ibna", tmp_path)
    with pytest.raises(UserError, match="resnet50_ibn_c: no weights are published for it; give"):
        measure_imagenet("resnet50_ibn_c", tmp_path)
