"""The output of ``ibnseg env``."""

from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ibnseg
from ibnseg import cli
from ibnseg.support import environment, stack


def paragraphs(text: str) -> list[dict[str, str]]:
    return [
        dict(line.split(maxsplit=1) for line in part.splitlines()) for part in text.split("\n\n")
    ]


def test_env_prints_versions_devices_and_where_domains_lie(
    data: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IBNSEG_DATA", str(tmp_path / "all"))
    (tmp_path / "data" / "camvid").mkdir(parents=True)
    assert cli.main(["env", "--data-root", f"gta5={data / 'gta5'}"]) == 0
    text = capsys.readouterr().out
    columns = {len(line) - len(line.split(maxsplit=1)[1]) for line in text.splitlines() if line}
    assert len(columns) == 1
    versions, devices, domains = paragraphs(text)
    assert versions["ibnseg"] == ibnseg.__version__
    for name in ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation"):
        assert versions[name] == version(name)
    assert "mmcv" not in versions
    assert "cores, bfloat16 " in devices["CPU"]
    assert devices["memory"].endswith(" GiB")
    assert domains["gta5"] == str(data / "gta5")
    for name in ("camvid", "camvid_day", "camvid_dusk"):
        assert domains[name] == str(tmp_path / "data" / "camvid")
    places = [tmp_path / "all" / "cityscapes", tmp_path / "data" / "cityscapes"]
    assert domains["cityscapes"] == f"not found: no folder {places[0]} nor {places[1]}"


def test_a_gpu_is_described_by_name_memory_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimpleNamespace(name="NVIDIA X", total_memory=24 * 2**30, major=8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: gpu)
    found = environment.devices()
    assert found["GPU 0"].startswith("NVIDIA X, 24.0 GiB, CUDA ")
    assert found["GPU 0"].endswith("bfloat16 in hardware")
    assert "GPU" not in found


def test_a_broken_environment_is_described_too(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Bug reports are often about a broken environment."""
    found = stack.version
    monkeypatch.setattr(stack, "version", lambda name: "2.1.0" if name == "mmcv" else found(name))
    assert cli.main(["env"]) == 0
    versions, _, domains = paragraphs(capsys.readouterr().out)
    assert versions["mmcv"] == "2.1.0"
    assert "pip uninstall -y mmcv" in domains["domains"]
