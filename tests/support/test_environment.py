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
    monkeypatch.delenv("IBNSEG_PREPARED", raising=False)
    (tmp_path / "data" / "camvid").mkdir(parents=True)
    assert cli.main(["env", "--data-root", f"gta5={data / 'gta5'}"]) == 0
    text = capsys.readouterr().out
    columns = {len(line) - len(line.split(maxsplit=1)[1]) for line in text.splitlines() if line}
    assert len(columns) == 1
    versions, devices, domains, prepared = paragraphs(text)
    assert versions["ibnseg"] == ibnseg.__version__
    for name in ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation"):
        assert versions[name] == version(name)
    assert versions["timm"] in (stack.installed_version("timm"), "not installed")
    assert "mmcv" not in versions
    assert "cores, bfloat16 " in devices["CPU"]
    assert devices["memory"].endswith(" GiB")
    assert domains["gta5"] == str(data / "gta5")
    for name in ("camvid", "camvid_day", "camvid_dusk"):
        assert domains[name] == str(tmp_path / "data" / "camvid")
    places = [tmp_path / "all" / "cityscapes", tmp_path / "data" / "cityscapes"]
    assert prepared == {"IBNSEG_PREPARED": "not set"}
    assert domains["cityscapes"] == f"not found: no folder {places[0]} nor {places[1]}"


def test_env_says_what_is_prepared(in_data: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        assert cli.main(["env"]) == 0
        return paragraphs(capsys.readouterr().out)[-1]["IBNSEG_PREPARED"]

    monkeypatch.setenv("IBNSEG_PREPARED", "store")
    assert said().startswith("IBNSEG_PREPARED is store, and there is no such folder; make it with")
    (in_data / "store").mkdir()
    assert said() == f"{in_data / 'store'}: nothing is prepared there"
    assert cli.main(["prepare", "gta5", "cityscapes", "--out", "store"]) == 0
    assert capsys.readouterr().out
    assert said() == f"{in_data / 'store'}: cityscapes, gta5"
    record = in_data / "store/gta5/prepared.json"
    record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    (in_data / "store/cityscapes/prepared.json").write_text("{")
    assert said().endswith(", gta5 (not to the end)")
    assert "store: cityscapes (store/cityscapes/prepared.json: not JSON" in said()


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
    versions, _, domains, _ = paragraphs(capsys.readouterr().out)
    assert versions["mmcv"] == "2.1.0"
    assert "pip uninstall -y mmcv" in domains["domains"]
