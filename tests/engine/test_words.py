"""mmengine's keys in a config: each takes effect in training."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from ibnseg.engine import words
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.engine.run import train
from ibnseg.support.errors import UserError
from tests.support.refusals import refused

WORDS = """
optimizer = dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
    clip_grad=dict(max_norm=0.5),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.25, by_epoch=False, begin=0, end=2),
    dict(type="CosineAnnealingLR", T_max=4, by_epoch=False, begin=2, end=6),
]
custom_hooks = [dict(type="EMAHook", momentum=0.5)]
default_hooks = dict(logger=dict(ignore_last=False), timer=dict(type="IterTimerHook"))
visualizer = dict(
    vis_backends=[dict(type="LocalVisBackend", name="mine", scalar_save_file="mine.json")]
)
env_cfg = dict(resource_limit=4000)
log_level = "WARNING"
keep_checkpoints = 9
"""
SEVERAL = """
train_domain = ["gta5", "cityscapes"]
train_shares = dict(gta5=0.25, cityscapes=0.75)
"""


@pytest.fixture(scope="module")
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes")}


@pytest.fixture(scope="module")
def config(tiny_config) -> Path:
    return tiny_config("gta5", ["gta5", "cityscapes"], WORDS + SEVERAL, name="worded")


@pytest.fixture(scope="module")
def worded(config: Path, roots, tmp_path_factory) -> tuple[Path, dict]:
    """The folder and results of a run of six steps in two domains, with words of mmengine's."""
    folder = tmp_path_factory.mktemp("worded")
    return folder, train(config, work_dir=folder, roots=roots, show=False)


def checkpoint(folder: Path, iteration: int) -> dict:
    return torch.load(folder / f"checkpoints/iter_{iteration}.pth", weights_only=True)


def expected_rate(step: int) -> float:
    """Two steps of warm-up from a quarter, then half a cosine over four."""
    if step < 2:
        return 0.02 * (0.25 + 0.75 * step)
    return 0.01 * (1 + math.cos(math.pi * (step - 2) / 4))


def test_the_rate_follows_warm_up_and_cosine(worded) -> None:
    (log,) = worded[0].glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rates = {row["step"]: row["lr"] for row in rows if "lr" in row}
    assert rates == {step: pytest.approx(expected_rate(step - 1), abs=1e-9) for step in range(1, 7)}


def test_a_part_of_the_network_has_its_own_rate(worded) -> None:
    groups = checkpoint(worded[0], 6)["optimizer"]["param_groups"]
    rates = sorted({group["initial_lr"] for group in groups})
    assert rates == pytest.approx([0.02, 0.2])
    assert {group["momentum"] for group in groups} == {0.9}


def test_averaged_weights_are_what_is_saved(worded) -> None:
    saved = checkpoint(worded[0], 6)
    assert "ema_state_dict" in saved
    own = saved["ema_state_dict"]
    key = next(key for key in saved["state_dict"] if key.endswith("conv1.weight"))
    assert not any(torch.equal(saved["state_dict"][key], each) for each in own.values())


def test_further_backends_log_beside_ours(worded) -> None:
    ours, mine = (
        next(worded[0].glob(f"*/vis_data/{name}.json")).read_text() for name in ("scalars", "mine")
    )
    assert mine == ours


def test_a_run_from_the_middle_of_another_ends_in_its_weights(
    worded, config: Path, roots, tmp_path: Path
) -> None:
    """The config has several training domains with shares, averaged weights and schedules."""
    folder, _ = worded
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.py", "checkpoints/iter_4.pth"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "latest.pth").symlink_to("checkpoints/iter_4.pth")
    train(tmp_path / "config.py", work_dir=tmp_path, roots=roots, resume=True, show=False)
    whole, resumed = checkpoint(folder, 6), checkpoint(tmp_path, 6)
    for part in ("state_dict", "ema_state_dict"):
        for key, value in whole[part].items():
            assert torch.equal(value, resumed[part][key]), (part, key)


def test_results_name_all_training_domains(worded) -> None:
    run = worded[1]["run"]
    assert (run["train_domain"], run["train_domains"]) == (
        "gta5+cityscapes",
        ["gta5", "cityscapes"],
    )
    values = run["recipe"]["values"]
    assert values["train_domain"] == ["gta5", "cityscapes"]
    assert values["train_shares"] == dict(gta5=0.25, cityscapes=0.75)
    assert {"gta5.train_split", "cityscapes.train_split"} <= values.keys()
    assert values["custom_hooks"] == [dict(type="EMAHook", momentum=0.5)]


# ---- without a training -----------------------------------------------------------------------


@pytest.fixture
def cfg(config: Path, in_data: Path) -> Config:
    return load_config(config)


def test_expanding_an_expanded_config_changes_nothing(cfg: Config, tmp_path: Path) -> None:
    once = expand(cfg)
    assert [hook.type for hook in once.custom_hooks] == ["ibnseg.HostMemory", "EMAHook"]
    assert expand(once)._cfg_dict == once._cfg_dict
    once.dump(tmp_path / "config.py")
    again = expand(load_config(tmp_path / "config.py"))
    assert again._cfg_dict.to_dict() == once._cfg_dict.to_dict()
    tested = expand(load_config(tmp_path / "config.py"), training=False)
    assert tested.custom_hooks == once.custom_hooks


def test_mmengines_keys_of_a_run_are_changed_on_the_command_line(
    cfg: Config, tmp_path: Path
) -> None:
    expand(cfg).dump(tmp_path / "config.py")
    options = [
        "optim_wrapper.clip_grad.max_norm=7",
        "custom_hooks=[dict(type='EMAHook', momentum=0.25), {'type': 'NumClassCheckHook'}]",
        "default_hooks.logger.interval=3",
        "env_cfg.cudnn_benchmark=False",
        "param_scheduler.1.T_max=9",
    ]
    changed = expand(load_config(tmp_path / "config.py", options))
    assert changed.optim_wrapper.clip_grad == dict(max_norm=7)
    assert changed.optim_wrapper.paramwise_cfg == cfg.optim_wrapper.paramwise_cfg
    assert [hook.get("momentum") for hook in changed.custom_hooks] == [None, 0.25, None]
    assert changed.default_hooks.logger.interval == 3
    assert changed.default_hooks.checkpoint.type == "ibnseg.Checkpoints"
    assert changed.env_cfg.cudnn_benchmark is False
    assert changed.param_scheduler[1].T_max == 9


def test_hooks_backends_and_environment_stand_beside_ours(cfg: Config) -> None:
    cfg.env_cfg.mp_cfg = dict(opencv_num_threads=2)
    found = expand(cfg)
    assert found.default_hooks.logger == dict(
        type="LoggerHook", interval=1, log_metric_by_epoch=False, ignore_last=False
    )
    assert found.default_hooks.timer.type == "IterTimerHook"
    assert len(found.visualizer.vis_backends) == 2
    assert found.env_cfg.resource_limit == 4000
    assert found.env_cfg.mp_cfg == dict(mp_start_method="fork", opencv_num_threads=2)
    assert found.log_level == "WARNING"


@pytest.mark.parametrize("max_norm", [1e-3, 1e6])
def test_gradients_are_clipped(max_norm: float) -> None:
    """A tiny norm bounds the step, a huge one changes nothing."""
    own = dict(optim_wrapper=dict(clip_grad=dict(max_norm=max_norm)), precision="float32")
    cfg = Config(dict(optimizer=dict(type="SGD", lr=1.0), accumulate=1, **own))
    steps = []
    for each in (cfg, Config({**cfg, "optim_wrapper": {}})):
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        before = network.weight.detach().clone()
        wrapper = build_optim_wrapper(network, Config(dict(x=words.optim_wrapper(each))).x)
        wrapper.update_params(network(torch.ones(4, 3)).square().sum())
        steps.append(network.weight.detach() - before)
    clipped, free = steps
    if max_norm == 1e-3:
        assert clipped.norm() <= 1.001e-3 < free.norm()
    else:
        assert torch.equal(clipped, free)


REFUSED = (
    (dict(env_cfg=dict(dist_cfg=dict(backend="gloo"))), "dist_cfg cannot be honoured"),
    (dict(optim_wrapper=dict(optimizer=dict(type="SGD"))), "expected either .*, found both"),
    (dict(optimizer=None), "found neither"),
    (
        dict(optim_wrapper=dict(accumulative_counts=2)),
        "accumulative_counts cannot be honoured: set accumulate",
    ),
    (dict(optim_wrapper=dict(type="AmpOptimWrapper"), precision="bfloat16"), "set one of them"),
    (dict(optim_wrapper=[1]), r"optim_wrapper is \[1\], expected a dict"),
    (dict(poly_power=0.5), "poly_power is 0.5, and param_scheduler replaces"),
    (dict(param_scheduler=[dict(type="LinearLR")]), r"\[0\] counts epochs.*by_epoch=False"),
    (dict(param_scheduler=[3]), r"param_scheduler\[0\] is 3, expected a dict with type"),
    (
        dict(custom_hooks=[dict(type="EMAHook", begin_iter=12000)], iterations=40),
        "EMAHook of custom_hooks begins at step 12000, and the training has 40",
    ),
    (dict(custom_hooks=[dict(momentum=1)]), "custom_hooks is .*expected a list of dicts"),
    (dict(custom_hooks="EMAHook"), "custom_hooks is 'EMAHook', expected a list"),
    (dict(default_hooks=dict(checkpoint=dict(interval=1))), "checkpoint_interval"),
    (dict(model_wrapper_cfg=3), "model_wrapper_cfg is 3, expected a dict"),
    (dict(log_level="INFOS"), "unknown log_level 'INFOS'; did you mean INFO"),
    (dict(visualizer=3), "visualizer is 3, expected a dict"),
    (dict(visualizer=dict(vis_backends=["x"])), r"vis_backends is \['x'\], expected a list"),
)


def test_what_cannot_be_honoured_is_refused(cfg: Config) -> None:
    for changes, message in REFUSED:
        changed = copy.deepcopy(cfg)
        for name, value in copy.deepcopy(changes).items():
            changed[name] = value
        with pytest.raises(UserError, match=message), refused(changes):
            expand(changed)


def test_a_log_backend_of_the_same_type_is_merged_with_the_packages(cfg: Config) -> None:
    cfg.tensorboard = True
    cfg.visualizer = dict(
        vis_backends=[
            dict(type="LocalVisBackend"),
            dict(type="TensorboardVisBackend", save_dir="x"),
        ]
    )
    assert expand(cfg).visualizer.vis_backends == [
        dict(type="LocalVisBackend"),
        dict(type="TensorboardVisBackend", save_dir="x"),
    ]


def test_an_optimizer_may_stand_in_the_wrapper(cfg: Config) -> None:
    cfg.optimizer, cfg.optim_wrapper = None, dict(optimizer=dict(type="AdamW", lr=1e-3))
    assert expand(cfg).optim_wrapper.optimizer == dict(type="AdamW", lr=1e-3)
    assert expand(expand(cfg)).optim_wrapper == expand(cfg).optim_wrapper


def test_a_dict_with_delete_replaces_the_packages_as_a_whole() -> None:
    ours = dict(a=dict(x=1, y=2), b=1)
    assert words.merged(ours, dict(a=dict(y=3), c=4)) == dict(a=dict(x=1, y=3), b=1, c=4)
    assert words.merged(ours, dict(a=dict(_delete_=True, z=5))) == dict(a=dict(z=5), b=1)
    assert words.merged(ours, dict(_delete_=True, c=1)) == dict(c=1)
    assert ours == dict(a=dict(x=1, y=2), b=1)
