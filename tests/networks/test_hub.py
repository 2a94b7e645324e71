"""``ibnseg push`` and ``ibnseg pull``: a run goes out as the hub has networks, and comes back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from ibnseg import cli, from_pretrained, load, predict
from ibnseg.datasets.labels import CLASSES, PALETTE
from ibnseg.engine.read import load_config, with_defaults
from ibnseg.evaluation import results
from ibnseg.networks.hub import save_pretrained
from ibnseg.networks.portable import KEPT, require_harmless
from ibnseg.runs.run import Run
from ibnseg.support.configs import config_files
from tests.conftest import save_rgb, scene
from tests.engine.test_partial import ADAPTERS, MODEL, TINY, backbone_file
from tests.engine.test_resume import same

Trained = tuple[Path, Path, dict]


@pytest.fixture(scope="module")
def shared(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that ``push`` wrote of the trained run; not to be changed."""
    out = tmp_path_factory.mktemp("shared") / "tiny"
    assert cli.main(["push", str(trained[1]), "--out", str(out), "--licence", "mit"]) == 0
    return out


def copied(shared: Path, to: Path, change: Callable[[dict], object] | None = None) -> Path:
    """A copy of a shared folder, with a change of its ``config.json``."""
    shutil.copytree(shared, to)
    if change is not None:
        info = json.loads((to / "config.json").read_text())
        change(info)
        (to / "config.json").write_text(json.dumps(info))
    return to


def refusal(capsys, *words: object) -> str:
    """The one line of a command that ends with 1."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 1
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    return err


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- out, and back in ---


def test_the_folder_has_what_the_hub_expects_and_nothing_of_the_training(
    trained: Trained, shared: Path
) -> None:
    _, run, _ = trained
    files = contents(shared)
    assert files.keys() == {
        "README.md", "config.json", "model.safetensors", "results.json",
        "per_image/gta5-native.npz", "per_image/cityscapes-native.npz",
    }  # fmt: skip
    expected = {k: v.cpu() for k, v in load(run).state_dict().items()}
    assert same(load_file(shared / "model.safetensors"), expected)
    info = json.loads(files["config.json"])
    assert info["library_name"] == "ibnseg"
    assert info["classes"] == list(CLASSES)
    assert info["palette"] == [list(color) for color in PALETTE]
    assert info["train_domains"] == ["gta5"]
    assert info["recipe"] == Run.open(run).recipe.hash
    assert (info["seed"], info["iteration"], info["licence"]) == (0, 60, "mit")
    assert info["config"]["model"]["backbone"]["type"] == "ibnseg.IBNResNet"
    assert str(run).encode() not in b"".join(files.values())  # no path of the machine


def test_a_pulled_network_predicts_the_same_to_the_last_bit(
    trained: Trained, shared: Path, tmp_path: Path, capsys
) -> None:
    _, run, _ = trained
    out = tmp_path / "pulled"
    assert cli.main(["pull", str(shared), "--out", str(out)]) == 0
    assert "trained on gta5, seed 0, with 2 tests" in capsys.readouterr().out
    networks = [load(run), load(out), from_pretrained(shared)]
    assert networks[2].class_set.classes == CLASSES
    image = scene(3)[0]
    (ids, shares), *others = [predict(network, image, probabilities=True) for network in networks]
    assert len(np.unique(ids)) > 1
    for other in others:
        np.testing.assert_array_equal(ids, other[0])
        np.testing.assert_array_equal(shares, other[1])
    assert same(networks[0].state_dict(), networks[1].state_dict())
    save_rgb(tmp_path / "x.png", image)
    for source, folder in ((run, "a"), (out, "b")):
        words = [source, tmp_path / "x.png", "--out", tmp_path / folder]
        assert cli.main(["predict", *map(str, words)]) == 0
    assert (tmp_path / "a/labels/x.png").read_bytes() == (tmp_path / "b/labels/x.png").read_bytes()


def test_a_pulled_run_has_recipe_seed_and_results_of_the_original(
    trained: Trained, shared: Path, in_data: Path, capsys
) -> None:
    _, run, _ = trained
    assert cli.main(["pull", str(shared)]) == 0
    pulled = in_data / "work_dirs/tiny"
    before, after = Run.open(run), Run.open(pulled)
    assert after.recipe == before.recipe
    one, other = before.results, after.results
    assert other["run"]["checkpoint_sha256"] != one["run"]["checkpoint_sha256"]
    assert [t["confusion"] for t in one["tests"]] == [t["confusion"] for t in other["tests"]]
    same_keys = ("name", "title", "seed", "iteration", "recipe", "train_domain")
    assert [one["run"][key] for key in same_keys] == [other["run"][key] for key in same_keys]
    capsys.readouterr()
    tables = []
    for folder in (run, pulled):
        assert cli.main(["matrix", str(folder), "--format", "json"]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert cli.main(["matrix", str(run), str(pulled)]) == 1  # it is the same network and seed
    assert "with seed 0; give one of them" in capsys.readouterr().err
    assert cli.main(["runs", str(in_data / "work_dirs")]) == 0
    assert f"pulled from {shared}  mIoU gta5" in capsys.readouterr().out


def test_a_pulled_run_is_tested_again_with_the_same_numbers(
    trained: Trained, shared: Path, in_data: Path, capsys
) -> None:
    assert cli.main(["pull", str(shared)]) == 0
    pulled = in_data / "work_dirs/tiny"
    assert cli.main(["test", str(pulled), "--resume"]) == 0
    assert "Every test is done already" in capsys.readouterr().out
    before = results.read(pulled / "results.json")
    (pulled / "results.json").unlink()
    assert cli.main(["test", str(pulled)]) == 0
    after = results.read(pulled / "results.json")
    assert after["tests"] == before["tests"]
    assert after["run"] == {**before["run"], "versions": after["run"]["versions"]}
    line = "train gta2city_r50 --work-dir work_dirs/tiny --resume"
    assert "holds a run already" in refusal(capsys, *line.replace(" --resume", "").split())
    assert "was pulled, without the state of its training" in refusal(capsys, *line.split())


def test_pushing_a_pulled_run_gives_the_same_files_again(shared: Path, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "tiny"
    assert cli.main(["pull", str(shared), "--out", str(run)]) == 0
    assert cli.main(["push", str(run), "--out", str(again)]) == 0
    assert contents(again) == contents(shared)


def test_a_training_starts_from_a_pulled_run(
    shared: Path, in_data: Path, tiny_config: Callable[..., Path]
) -> None:
    assert cli.main(["pull", str(shared), "--out", "pulled"]) == 0
    config = tiny_config("gta5", ["gta5"], "iterations = 1\nstart_from = 'pulled'")
    assert cli.main(["train", str(config), "--work-dir", "tuned"]) == 0
    before, after = load("pulled").state_dict(), load("tuned").state_dict()
    moved = (after["backbone.conv1.weight"] - before["backbone.conv1.weight"]).abs().max()
    assert 0 < moved < 0.01


def test_an_untested_checkpoint_goes_out_without_results(
    trained: Trained, tmp_path: Path, capsys
) -> None:
    _, run, _ = trained
    out = tmp_path / "early"
    assert (
        cli.main(["push", str(run), str(run / "checkpoints/iter_50.pth"), "--out", str(out)]) == 0
    )
    said = capsys.readouterr().out
    assert "has not been tested" in said
    assert "No licence is stated" in said
    assert contents(out).keys() == {"README.md", "config.json", "model.safetensors"}
    assert cli.main(["pull", str(out), "--out", str(tmp_path / "run")]) == 0
    pulled = Run.open(tmp_path / "run")
    assert pulled.results is None
    assert pulled.latest.resolve().name == "iter_50.pth"


@pytest.fixture
def frozen(in_data: Path, tiny_config: Callable[..., Path]) -> Path:
    """A run with LoRA in a frozen backbone, whose checkpoint lacks the backbone's weights."""
    file = backbone_file(in_data / "dinov2.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(file))
    parts = dict(options=TINY, adapter=ADAPTERS["lora"], init_cfg=init_cfg)
    config = tiny_config("gta5", ["gta5"], MODEL.format(**parts), name="lora")
    assert cli.main(["train", str(config), "--work-dir", "run"]) == 0
    return in_data / "run"


def test_the_weights_of_a_frozen_backbone_go_out_with_the_others(
    frozen: Path, tmp_path: Path
) -> None:
    """Nobody else has the backbone's file."""
    image = scene(3)[0]
    expected = predict(load(frozen), image)
    assert cli.main(["push", str(frozen), "--out", "lora"]) == 0
    (tmp_path / "dinov2.pth").unlink()
    assert cli.main(["pull", "lora", "--out", "pulled"]) == 0
    for network in (from_pretrained("lora"), load("pulled")):
        np.testing.assert_array_equal(predict(network, image), expected)
    assert cli.main(["push", "pulled", "--out", "again/lora"]) == 0
    assert contents(Path("again/lora")) == contents(Path("lora"))


def test_weights_may_be_in_several_files(trained: Trained, shared: Path, tmp_path: Path) -> None:
    out = save_pretrained(trained[1], tmp_path / "tiny", max_shard_size="300KB")
    names = sorted(path.name for path in out.glob("model*"))
    assert names[0] == "model-00001-of-00004.safetensors"
    assert names[-1] == "model.safetensors.index.json"
    whole = from_pretrained(shared).state_dict()
    assert same(from_pretrained(out).state_dict(), whole)
    (out / names[1]).unlink()
    with pytest.raises(Exception, match=f"{names[1]}: no such file"):
        from_pretrained(out)


def test_averaged_weights_go_out_and_the_recipe_stays(
    in_data: Path, tiny_config: Callable[..., Path]
) -> None:
    more = """
iterations = 3
custom_hooks = [dict(type="EMAHook", momentum=0.3)]
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=2), timer=dict(type="IterTimerHook"))
"""
    config = tiny_config("gta5", ["gta5"], more, name="averaged")
    assert cli.main(["train", str(config), "--work-dir", "run"]) == 0
    assert cli.main(["push", "run", "--out", "averaged"]) == 0
    assert cli.main(["pull", "averaged", "--out", "pulled"]) == 0
    assert same(load("pulled").state_dict(), load("run").state_dict())
    assert Run.open("pulled").recipe == Run.open("run").recipe
    assert cli.main(["test", "pulled", "--protocol", "paper"]) == 0


def test_no_packaged_config_would_be_refused() -> None:
    for name in config_files():
        cfg = with_defaults(load_config(name))._cfg_dict
        values = json.loads(json.dumps({key: cfg[key] for key in KEPT if key in cfg}))
        require_harmless(values, name)


# --- what may be in the way ---


def test_a_folder_is_replaced_by_the_same_run_alone(
    trained: Trained, shared: Path, tmp_path: Path, capsys
) -> None:
    _, run, _ = trained
    out = copied(shared, tmp_path / "tiny")
    assert cli.main(["push", str(run), "--out", str(out), "--licence", "my terms"]) == 0
    assert json.loads((out / "config.json").read_text())["licence"] == "my terms"
    before = contents(out)
    (out / "README.md").write_text("by hand")
    assert "README.md: was changed since push wrote it" in refusal(
        capsys, "push", run, "--out", out
    )
    (out / "README.md").write_bytes(before["README.md"])
    (out / "notes.txt").write_text("mine")
    assert "notes.txt: was not written by push" in refusal(capsys, "push", run, "--out", out)
    (out / "notes.txt").unlink()
    assert contents(out) == before
    other = copied(shared, tmp_path / "other", lambda info: info.update(seed=7))
    said = refusal(capsys, "push", run, "--out", other)
    assert "holds another network, whose seed is 7, not 0" in said
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    for there in (mine, run):
        assert "was not written by push" in refusal(capsys, "push", run, "--out", there)
    assert "is a file" in refusal(capsys, "push", run, "--out", mine / "thesis.tex")
    assert contents(mine) == {"thesis.tex": b"x"}


def test_nothing_is_left_of_a_push_that_fails(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write", full)
    said = refusal(capsys, "push", trained[1], "--out", tmp_path / "new/tiny")
    assert "new/tiny: cannot be written (No space left on device)" in said
    assert list((tmp_path / "new").iterdir()) == []


def test_a_pulled_run_replaces_nothing(shared: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "run").mkdir()
    assert cli.main(["pull", str(shared), "--out", str(tmp_path / "run")]) == 0
    before = contents(tmp_path / "run")
    said = refusal(capsys, "pull", shared, "--out", tmp_path / "run")
    assert "is there already; give another --out" in said
    assert contents(tmp_path / "run") == before


# --- foreign and damaged folders ---


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


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("custom_imports = dict(imports=['mine'])", "without modules of your own"),
        (
            "given = dict(custom_hooks=[dict(type='ProfilerHook')])",
            "the hook ProfilerHook may write files",
        ),
    ],
)
def test_what_could_not_be_pulled_is_not_pushed(
    lines: str, expected: str, trained: Trained, tmp_path: Path, capsys
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[1], run, symlinks=True)
    with (run / "config.py").open("a") as file:
        file.write(f"{lines}\n")
    assert expected in refusal(capsys, "push", run, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_extra(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for package in ("huggingface_hub", "safetensors"):
        with monkeypatch.context() as lacking:
            lacking.setitem(sys.modules, package, None)
            for words in (["push", trained[1], "--out", tmp_path / "x"], ["pull", "user/name"]):
                said = refusal(capsys, *words)
                assert package in said
                assert said.endswith("pip install 'ibnseg[hf]'")


# --- selected checkpoints ---


def test_a_selected_checkpoint_is_marked_and_stays_the_best(
    in_data: Path, tiny_config: Callable[..., Path], capsys
) -> None:
    more = "iterations = 2\nsave_best = True\nselection_split = 'val'"
    config = tiny_config("gta5", ["cityscapes"], more, name="best")
    assert cli.main(["train", str(config), "--work-dir", "run"]) == 0
    assert cli.main(["push", "run", "--out", "best"]) == 0
    info = json.loads(Path("best/config.json").read_text())
    assert info["selected"] == "the best by mIoU on split val of gta5"
    assert "**A selected checkpoint:** the best by mIoU" in Path("best/README.md").read_text()
    assert cli.main(["pull", "best", "--out", "pulled"]) == 0
    assert "Selected checkpoint: the best by mIoU on split val" in capsys.readouterr().out
    pulled = Run.open("pulled")
    assert pulled.tested.name == "best.pth"
    assert pulled.tested.is_file()
    assert pulled.recipe == Run.open("run").recipe
    assert cli.main(["push", "pulled", "--out", "again/best"]) == 0
    assert contents(Path("again/best")) == contents(Path("best"))


def test_a_checkpoint_that_is_called_best_is_marked(trained: Trained, tmp_path: Path) -> None:
    _, run, _ = trained
    other = tmp_path / "best_mIoU.pth"
    shutil.copyfile(run / "checkpoints/iter_50.pth", other)
    out = save_pretrained(run, tmp_path / "out", other)
    selected = json.loads((out / "config.json").read_text())["selected"]
    assert selected == "by its name, best_mIoU.pth; on which images is not recorded"
