"""``ibnseg push`` and ``ibnseg pull``: a run goes out as the hub has networks, and comes back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

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
    names = config_files()
    assert len(names) > 50
    for name in names:
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


# --- what could not be pulled ---


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
