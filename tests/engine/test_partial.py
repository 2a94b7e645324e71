"""Trainings of frozen backbones: small checkpoints, exact resuming, the backbone's file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from ibnseg import load
from ibnseg.engine.run import train
from ibnseg.models import ViT, build_network
from ibnseg.models.partial import KEPT_IN_FILES
from ibnseg.models.pretrained import load_backbone
from ibnseg.networks.export import export_weights
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from tests.engine.test_resume import same
from tests.engine.test_state import EMA, read, require_exactly_resumed
from tests.support.team import in_processes

TINY = dict(embed_dim=32, depth=2, num_heads=2, init_values=1.0)
"""Blocks whose outputs count: DINOv2's start multiplied by 1e-5."""

ADAPTERS = {
    "none": None,
    "lora": dict(type="ibnseg.LoRA", rank=2, dropout=0.3),
    "soma": dict(type="ibnseg.LoRA", rank=2, start="minor", split_qkv=True, bias=True),
    "recyclelora": dict(type="ibnseg.LoRA", rank=4, sub_rank=2, start="qr", blocks=[1]),
    "rein": dict(type="ibnseg.Rein", tokens=6, rank=2),
}

MODEL = """
model = dict(
    backbone=dict(
        _delete_=True,
        type="ibnseg.ViT",
        name="vit_small_patch14_dinov2",
        image_size=32,
        out_indices=(0, 1),
        options={options},
        adapter={adapter},
        init_cfg={init_cfg},
    ),
    decode_head=dict(in_channels=32, in_index=1, channels=8),
)
optimizer = dict(_delete_=True, type="AdamW", lr=0.01, weight_decay=0.05)
"""


def backbone_file(path: Path, seed: int = 7) -> Path:
    """Weights in the layout of DINOv2's own files."""
    torch.manual_seed(seed)
    network = ViT("vit_small_patch14_dinov2", image_size=32, out_indices=(0, 1), options=TINY)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def config(tiny_config, in_data: Path) -> Callable[..., Path]:
    """A function that writes a config of an adapter, by its name in ``ADAPTERS``."""
    file = backbone_file(in_data / "dinov2.pth")

    def write(adapter: str, more: str = "", init_cfg: dict | None = None) -> Path:
        init_cfg = dict(type="Pretrained", checkpoint=str(file)) if init_cfg is None else init_cfg
        parts = dict(options=TINY, adapter=ADAPTERS[adapter], init_cfg=init_cfg or None)
        return tiny_config("gta5", ["gta5"], MODEL.format(**parts) + more, name=adapter)

    return write


def bits(path: Path) -> int:
    return sum(value.numel() for value in read(path)["state_dict"].values())


def refusal(function: Callable, *args, **kwargs) -> str:
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_two_processes_train_a_vit_with_lora_as_one_does(config, in_data: Path) -> None:
    more = """
model["backbone"]["adapter"].update(dropout=0)
model["backbone"].update(out_indices=None, final_norm=True)
model["decode_head"] = dict(
    _delete_=True,
    type="ibnseg.LinearHead",
    in_channels=32,
    num_classes=19,
    align_corners=False,
    loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
)
iterations = 3
"""
    file = str(config("lora", more))
    train(file, work_dir="one", show=False)
    work = lambda: train(file, work_dir="two", show=False)  # noqa: E731
    said = in_processes(2, work, in_data / "said")
    assert not any("Error" in each or "killed" in each for each in said), said
    one, two = (read(in_data / run / "latest.pth")["state_dict"] for run in ("one", "two"))
    assert one.keys() == two.keys()
    assert any("lora_b" in name and value.any() for name, value in one.items())
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_training_with_an_adapter_is_resumed_exactly(config, adapter: str, in_data: Path) -> None:
    """Averaged weights included; the checkpoints hold what was trained, and load as a whole."""
    cfg = Config.fromfile(config(adapter))
    whole, halves, checkpoint = require_exactly_resumed(cfg, in_data, [EMA])
    trained = {name for name, p in whole.model.named_parameters() if p.requires_grad}
    stored = {"state_dict": "", "ema_state_dict": "module."}
    for part, prefix in stored.items():
        names = checkpoint[part].keys()
        assert {f"{prefix}{name}" for name in trained} <= names
        assert not any(".blocks." in n and n.endswith("norm1.weight") for n in names)
    after = whole.model.state_dict()
    assert same(after, halves.model.state_dict())
    start = torch.load("dinov2.pth", weights_only=True)
    frozen = checkpoint["meta"][KEPT_IN_FILES]["backbone"]
    assert frozen["network"] == "vit_small_patch14_dinov2"
    assert frozen["source"].endswith("dinov2.pth")
    for name, value in start.items():
        if f"backbone.{name}" not in trained:
            assert torch.equal(after[f"backbone.{name}"], value), name


@pytest.mark.parametrize("adapter", ["soma", "rein"])
def test_a_run_is_tested_and_exported_with_the_weights_of_its_backbones_file(
    config, adapter: str, in_data: Path
) -> None:
    """An exported file needs the backbone's no longer, and says the same."""
    trained = train(config(adapter), work_dir="run", show=False)
    again = run_test("run", work_dir="again")
    assert trained["tests"][0]["confusion"] == again["tests"][0]["confusion"]
    network = load("run")
    whole = export_weights("run", None, "whole.pth")
    assert bits(whole) > bits(Path("run/latest.pth"))
    Path("dinov2.pth").unlink()
    message = refusal(load, "run")
    assert "latest.pth: lacks the frozen weights of backbone (vit_small_patch14_dinov2)" in message
    assert "dinov2.pth: no such checkpoint; put it there, or set model.backbone.init_cfg" in message
    assert same(load("run", whole).state_dict(), network.state_dict())
    assert KEPT_IN_FILES not in read(whole)["meta"]
    assert read(whole)["meta"]["iter"] == 6


def test_another_file_than_that_of_the_training_is_refused(config, in_data: Path) -> None:
    train(config("lora"), work_dir="run", show=False)
    backbone_file(in_data / "dinov2.pth", seed=8)
    message = refusal(load, "run")
    assert "dinov2.pth has others than the training had: their SHA-256 begins with" in message
    message = refusal(train, config("lora"), work_dir="run", resume=True)
    assert "iter_6.pth: lacks the frozen weights" in message or "latest.pth: lacks" in message
    moved = backbone_file(in_data / "moved.pth")
    load("run", options=[f"model.backbone.init_cfg.checkpoint={moved}"])
    message = refusal(load, "run", options=["model.backbone.init_cfg=None"])
    assert "the config has no such part; it needs the frozen backbone of the training" in message


def test_a_checkpoint_with_a_backbone_from_elsewhere_holds_all_of_it(config, in_data: Path) -> None:
    """One that started at random, and one whose training started from another checkpoint."""
    first = config("lora", init_cfg={}, more="iterations = 1")
    train(first, work_dir="random", show=False)
    checkpoint = read(in_data / "random/latest.pth")
    assert KEPT_IN_FILES not in checkpoint["meta"]
    second = config("lora", more="iterations = 1\nstart_from = 'random'")
    train(second, work_dir="second", show=False)
    assert KEPT_IN_FILES not in read(in_data / "second/latest.pth")["meta"]
    name = "backbone.blocks.0.attn.qkv.weight"
    assert torch.equal(load("second").state_dict()[name].cpu(), checkpoint["state_dict"][name])


def test_a_training_may_start_from_a_partial_checkpoint_or_from_an_exported_one(
    config, in_data: Path
) -> None:
    """What it stores is small again."""
    train(config("soma"), work_dir="first", show=False)
    whole = export_weights("first", None, "whole.pth")
    network = load("first").backbone
    message = refusal(load_backbone, network, "first/latest.pth", "backbone.")
    assert "latest.pth: lacks frozen weights, which are in a file of their own; write" in message
    for start in ("first", whole):
        more = f"iterations = 1\nstart_from = {str(start)!r}"
        train(config("soma", more), work_dir="second", show=False)
        assert bits(in_data / "second/latest.pth") == bits(in_data / "first/latest.pth")
        shutil.rmtree("second")


WIDE = """
model["backbone"]["options"].update(embed_dim=256)
model["decode_head"].update(in_channels=256)
"""


def test_the_dry_run_counts_what_a_checkpoint_will_hold(config, in_data: Path, capsys) -> None:
    sizes = []
    for init_cfg in (None, {}):
        train(config("lora", WIDE, init_cfg), work_dir="run", dry=True)
        line = next(each for each in capsys.readouterr().out.splitlines() if "checkpoint" in each)
        sizes.append(int(line.split()[1]))
    assert sizes[0] < sizes[1] / 2


def test_a_frozen_cnn_is_left_out_too_but_for_its_statistics(tiny_config, in_data: Path) -> None:
    more = """
model["backbone"].update(
    frozen_stages=4, init_cfg=dict(type="Pretrained", checkpoint="backbone.pth")
)
"""
    cfg = Config.fromfile(tiny_config("gta5", ["gta5"], more))
    network = build_network(cfg.model).backbone
    torch.save(network.state_dict(), "backbone.pth")
    train(cfg.filename, work_dir="run", show=False)
    stored = [k for k in read(in_data / "run/latest.pth")["state_dict"] if "backbone" in k]
    assert {name.rpartition(".")[2] for name in stored} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    loaded = load("run").backbone.state_dict()
    assert torch.equal(loaded["conv1.weight"].cpu(), network.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    "meta", [3, dict(backbone=3), dict(backbone=dict(sha256="0")), dict(neck=None)]
)
def test_a_damaged_note_of_what_is_left_out_is_one_line(config, in_data: Path, meta) -> None:
    cfg = Config.fromfile(config("lora"))
    weights = build_network(cfg.model).state_dict()
    torch.save(dict(state_dict=weights, meta={KEPT_IN_FILES: meta}), "damaged.pth")
    message = refusal(load, cfg.filename, "damaged.pth")
    assert message.startswith("damaged.pth: its meta.kept_in_files is damaged")


GROUPS = {
    "soma": ({"backbone": dict(lr_mult=0.5)}, {"lora_": (0.5, 1.0), ".bias": (0.5, 1.0)}),
    "recyclelora": (
        {"lora_sub": dict(lr_mult=0.5)},
        {"lora_sub_": (0.5, 1.0), "lora_a": (1.0, 1.0), "lora_b": (1.0, 1.0)},
    ),
    "rein": (
        {"adapter.tokens": dict(decay_mult=0.0), "adapter.scale": dict(decay_mult=0.0)},
        {"tokens_": (1.0, 0.0), "scale": (1.0, 0.0), "mlp_": (1.0, 1.0)},
    ),
}
"""The custom keys of an adapter, and factors of rate and decay by a part of parameters' names."""


@pytest.mark.parametrize("adapter", GROUPS)
def test_rates_and_decay_of_adapters_are_set_by_the_names_of_their_parameters(
    config, adapter: str
) -> None:
    keys, expected = GROUPS[adapter]
    network = build_network(Config.fromfile(config(adapter)).model)
    optimizer = build_optim_wrapper(
        network,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1.0, weight_decay=1.0),
            paramwise_cfg=dict(custom_keys=keys),
        ),
    ).optimizer
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    trained = {n: p for n, p in network.backbone.named_parameters() if p.requires_grad}
    for part, factors in expected.items():
        found = [groups[id(p)] for name, p in trained.items() if part in name]
        assert found
        assert {(group["lr"], group["weight_decay"]) for group in found} == {factors}
    assert all(any(part in name for part in expected) for name in trained)
