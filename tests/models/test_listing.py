"""The list of published checkpoints as a command prints it."""

import torch

from ibnseg import cli
from ibnseg.models.zoo import AUTHORS, PUBLISHED, TORCHVISION


def test_models_command_lists_every_checkpoint_and_marks_the_downloaded(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50_ibn_a-d9d0bb7b.pth").touch()
    assert cli.main(["models"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if ".pth" in line}
    assert list(rows) == list(PUBLISHED)
    assert rows.pop("resnet50_ibn_a")[1:] == [
        "25.56", "M", "22.54", "6.32", "resnet50_ibn_a-d9d0bb7b.pth", "yes"
    ]  # fmt: skip
    assert rows["resnet18_ibn_b"][1:] == ["11.69", "M", "-", "-", "resnet18_ibn_b-bc2f3c11.pth"]
    assert not any(row[-1] == "yes" for row in rows.values())
    assert {AUTHORS, TORCHVISION, str(tmp_path / "checkpoints")} <= set(printed.split())
