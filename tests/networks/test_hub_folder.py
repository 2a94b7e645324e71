"""Folders that ``pull`` is given: foreign, damaged or made to do harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ibnseg import cli
from tests.networks.test_hub import Trained, copied, refusal


def _set(*path: object, to: object) -> Callable[[dict], None]:
    def change(info: dict) -> None:
        *way, last = path
        for each in way:
            info = info[each]
        if to is None:
            del info[last]
        else:
            info[last] = to

    return change


DAMAGES = {
    "library": (_set("library_name", to="timm"), "library_name is 'timm', expected 'ibnseg'"),
    "format": (_set("format", to=9), "format is 9, expected 1; take the version of ibnseg that"),
    "missing": (_set("classes", to=None), "classes is missing, expected a list of names"),
    "kind": (_set("seed", to="x"), "seed is 'x', expected a whole number"),
    "classes": (_set("classes", to=["a", "b"]), "classes are not those of its training domain"),
    "file": (_set("files", "../x.safetensors", to="0" * 64), "expected an object of hashes"),
    "no model": (_set("config", "model", to=None), "no value for model"),
    "key": (_set("config", "work_dir", to="/tmp"), "unknown config key 'work_dir'"),
    "imports": (
        _set("config", "custom_imports", to={"imports": ["os"]}),
        "unknown config key 'custom_imports'",
    ),
    "of another": (_set("checkpoint_sha256", to="0"), "results.json: is not of the network in"),
    "argument": (
        _set("config", "model", "backbone", "depth", to=17),
        "config.json: model: cannot be built from the config",
    ),
    "shape": (
        _set("config", "model", "decode_head", "channels", to=8),
        "model.safetensors: does not fit Segmentor",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_foreign_or_damaged_config_is_one_line(
    name: str, shared: Path, tmp_path: Path, capsys
) -> None:
    change, expected = DAMAGES[name]
    folder = copied(shared, tmp_path / "folder", change)
    assert expected in refusal(capsys, "pull", folder, "--out", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def runs(command: str, mark: Path) -> dict:
    """A type that mmengine would import and call, with arguments by which it makes a file."""
    return dict(type=command, args=["touch", str(mark)])


HARMFUL = {
    "backbone": lambda m: _set("config", "model", "backbone", to=runs("subprocess.Popen", m)),
    "nested": lambda m: _set(
        "config", "model", "decode_head", "loss_decode", to=[runs("subprocess.run", m)]
    ),
    "hook": lambda m: _set("config", "custom_hooks", to=[runs("subprocess.Popen", m)]),
    "average": lambda m: _set(
        "config", "custom_hooks", to=[dict(type="EMAHook", ema_type="subprocess.Popen")]
    ),
    "constructor": lambda m: _set("config", "optim_wrapper", to=dict(constructor="os.system")),
    "domain": lambda m: _set("config", "domains", "gta5", "dataset", "type", to="os.system"),
    "scope": lambda m: _set("config", "model", "_scope_", to="mymodule"),
    "template": lambda m: _set("config", "name", to="{{ $HOME:/x }}"),
    "trace": lambda m: _set(
        "config", "custom_hooks", to=[dict(type="ProfilerHook", json_trace_path=str(m))]
    ),
    "log": lambda m: _set("config", "default_hooks", to=dict(logger=dict(out_dir=str(m)))),
    "foreign": lambda m: _set(
        "config", "model", to=dict(type="ibnseg.Foreign", source="antigravity:fly")
    ),
    "layer": lambda m: _set(
        "config", "model", "backbone", to=dict(type="mmseg.TIMMBackbone", norm_layer="os.system")
    ),
    "pickle": lambda m: _set(
        "config", "model", "decode_head", "loss_decode", "class_weight", to="weights.pkl"
    ),
    "no text": lambda m: _set("config", "model", "backbone", "type", to=["os.system"]),
}


REFUSALS = (
    "that imports nothing; no other code is run",
    "a file, which may hold code",
    "writes files, and is not taken over",
    "may write files, and is not taken over",
    "which mmengine would replace",
)


@pytest.mark.parametrize("name", HARMFUL)
def test_a_folder_runs_no_code_of_its_maker(
    name: str, shared: Path, tmp_path: Path, capsys
) -> None:
    mark = tmp_path / "mark"
    folder = copied(shared, tmp_path / "folder", HARMFUL[name](mark))
    said = refusal(capsys, "pull", folder, "--out", tmp_path / "run")
    assert f"{folder / 'config.json'}: " in said
    assert any(reason in said for reason in REFUSALS)
    assert not mark.exists()
    assert not (tmp_path / "run").exists()


def test_damaged_weights_and_results_are_one_line(shared: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    for name in ("model.safetensors", "results.json", "per_image/gta5-native.npz"):
        folder = copied(shared, tmp_path / name.replace("/", "-"))
        content = bytearray((folder / name).read_bytes())
        content[-3] ^= 1
        (folder / name).write_bytes(content)
        said = refusal(capsys, "pull", folder, "--out", out)
        assert f"{folder / name}: damaged or changed" in said
        (folder / name).unlink()
        assert f"{folder / name}: no such file" in refusal(capsys, "pull", folder, "--out", out)
    folder = copied(shared, tmp_path / "edited")
    (folder / "README.md").write_text("a card that was edited on the hub")
    assert cli.main(["pull", str(folder), "--out", str(out)]) == 0


def test_weights_that_lack_a_name_or_are_cut_are_one_line(
    shared: Path, tmp_path: Path, capsys
) -> None:
    """Even if the hash is that of the file."""
    from ibnseg.support.files import sha256

    def hashed(folder: Path) -> Path:
        info = json.loads((folder / "config.json").read_text())
        info["files"]["model.safetensors"] = sha256(folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(info))
        return folder

    lacking, cut = (copied(shared, tmp_path / name) for name in ("lacking", "cut"))
    weights = load_file(lacking / "model.safetensors")
    del weights["backbone.conv1.weight"]
    save_file(weights, lacking / "model.safetensors")
    said = refusal(capsys, "pull", hashed(lacking), "--out", tmp_path / "run")
    assert "does not fit Segmentor: 1 missing: backbone.conv1.weight" in said
    with (cut / "model.safetensors").open("rb+") as file:
        file.truncate(1000)
    said = refusal(capsys, "pull", hashed(cut), "--out", tmp_path / "run")
    assert "model.safetensors: truncated or not a checkpoint" in said


def test_commands_say_how_a_pushed_folder_is_used(shared: Path, capsys) -> None:
    said = refusal(capsys, "test", shared)
    assert f"ibnseg pull {shared} makes a run of what push wrote" in said
    said = refusal(capsys, "test", f"hf:{shared}", "--domains", "gta5")
    assert said.endswith("of a network of this package; make a run of it by ibnseg pull")


def test_other_folders_are_one_line_that_says_what_to_do(
    trained: Trained, tmp_path: Path, capsys
) -> None:
    transformers = tmp_path / "segformer"
    transformers.mkdir()
    (transformers / "config.json").write_text('{"model_type": "segformer"}')
    said = refusal(capsys, "pull", transformers)
    assert said.endswith(f"is tested by ibnseg test hf:{transformers}")
    assert "is a run, which commands take as it is" in refusal(capsys, "pull", trained[1])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json, which ibnseg push writes" in refusal(capsys, "pull", empty)
    said = refusal(capsys, "pull", tmp_path / "a/b/c")
    assert "no such folder, and no name on the hub, which is USER/NAME" in said
    said = refusal(capsys, "pull", transformers, "--revision", "v1")
    assert "is a folder, and revisions are of the hub" in said
    said = refusal(capsys, "test", transformers)
    assert said.endswith(f"of what push wrote, hf:{transformers} names others")
    assert "is not a run folder" in refusal(capsys, "push", empty, "--out", tmp_path / "x")
    said = refusal(capsys, "push", trained[1], tmp_path / "x.pth", "--out", tmp_path / "x")
    assert "x.pth: no such checkpoint" in said
