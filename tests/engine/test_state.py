"""All state of a training is in its checkpoints: averaged weights, what hooks keep, losses' own."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from ibnseg import load
from ibnseg.engine.checkpoint import plain
from ibnseg.engine.expand import expand
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from tests.engine.test_resume import same
from tests.support.refusals import refused

HALF, ALL = 3, 6


def runner_of(tiny: Config, folder: Path, hooks: list, **changes) -> Runner:
    cfg = tiny.copy()
    for key, value in changes.items():
        cfg[key] = value
    cfg.iterations, cfg.checkpoint_interval, cfg.keep_checkpoints = ALL, HALF, 9
    cfg.name = f"{folder.parent.name}-{folder.name}"
    cfg = expand(cfg)
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    cfg.work_dir = str(folder)
    return Runner.from_cfg(cfg)


def resumed(tiny: Config, folder: Path, checkpoint: Path, hooks: list, **changes) -> Runner:
    runner = runner_of(tiny, folder, hooks, **changes)
    runner._load_from, runner._resume = str(checkpoint), True
    runner.train()
    return runner


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def require_exactly_resumed(tiny: Config, folder: Path, hooks: list, **changes) -> tuple:
    """Trains whole and in two halves; the runners, and the last checkpoint, which both have."""
    whole = runner_of(tiny, folder / "whole", hooks, **changes)
    whole.train()
    half = folder / "whole/checkpoints/iter_3.pth"
    halves = resumed(tiny, folder / "halves", half, hooks, **changes)
    expected, found = (read(folder / f"{name}/latest.pth") for name in ("whole", "halves"))
    assert expected.keys() == found.keys()
    for part in expected.keys() - {"meta"}:
        assert same(found[part], expected[part]), part
    return whole, halves, expected


# ---- averaged weights ------------------------------------------------------------------------

EMA = dict(type="EMAHook", momentum=0.3)


def assert_weights(network: nn.Module, weights: dict) -> None:
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[key]), key


class Watching(Hook):
    """Keeps the weights that a test uses."""

    def __init__(self) -> None:
        self.weights: dict = {}

    def after_test_iter(self, runner: Runner, **kwargs) -> None:
        self.weights = {k: v.clone() for k, v in runner.model.state_dict().items()}


def weights_tested(runner: Runner, checkpoint: Path) -> dict:
    watching = Watching()
    runner.register_hook(watching, "VERY_LOW")
    runner.load_weights(checkpoint)
    runner.test()
    return watching.weights


def test_a_training_with_averaged_weights_is_resumed_exactly(tiny: Config, in_data: Path) -> None:
    """The averaged weights are tested at the end of a resumed training and later."""
    whole, halves, checkpoint = require_exactly_resumed(tiny, in_data, [EMA])
    averaged = checkpoint["state_dict"]
    source = {k.removeprefix("module."): v for k, v in checkpoint["ema_state_dict"].items()}
    assert not torch.equal(averaged["backbone.conv1.weight"], source["backbone.conv1.weight"])
    assert checkpoint["ema_state_dict"]["steps"] == ALL
    assert_weights(whole.model, source)
    latest = in_data / "whole/latest.pth"
    later = runner_of(tiny, in_data / "later", [EMA])
    for runner in (halves, later):
        assert same(weights_tested(runner, latest), averaged)


def test_commands_test_and_predict_with_averaged_weights(tiny_config, in_data: Path) -> None:
    """The same ones at the end of a training, at the end of a resumed one, and of the run alone."""
    more = f"custom_hooks = [{EMA}]\nmodel['backbone']['norm_eval'] = True\n"
    config = tiny_config("gta5", ["gta5"], more, name="averaged")
    train(config, work_dir="whole", show=False)
    Path("halves/checkpoints").mkdir(parents=True)
    for name in ("config.py", "checkpoints/iter_4.pth"):
        shutil.copy(f"whole/{name}", f"halves/{name}")
    Path("halves/latest.pth").symlink_to("checkpoints/iter_4.pth")
    train(config, work_dir="halves", resume=True, show=False)
    run_test("whole", work_dir="later")
    tests = [
        json.loads(Path(run, "results.json").read_text())["tests"]
        for run in ("whole", "halves", "later")
    ]
    assert tests[0][0]["confusion"] == tests[1][0]["confusion"] == tests[2][0]["confusion"]
    averaged = read(Path("whole/latest.pth"))["state_dict"]
    assert same(averaged, read(Path("halves/latest.pth"))["state_dict"])
    assert_weights(load("whole"), averaged)


def test_a_training_may_start_from_averaged_weights(tiny: Config, in_data: Path) -> None:
    """Its own average begins with what it starts from."""
    first = runner_of(tiny, in_data / "first", [EMA])
    first.train()
    start = in_data / "first/latest.pth"
    second = runner_of(tiny, in_data / "second", [EMA], start_from=str(start))
    second.call_hook("before_run")
    second.load_or_resume()
    assert_weights(second.model, read(start)["state_dict"])
    (hook,) = (hook for hook in second.hooks if type(hook).__name__ == "EMAHook")
    assert_weights(hook.ema_model.module, read(start)["state_dict"])


def test_a_training_with_averaged_weights_may_start_from_bare_weights(
    tiny: Config, in_data: Path
) -> None:
    runner = runner_of(tiny, in_data / "run", [EMA])
    weights = {f"module.{key}": value + 1 for key, value in runner.model.state_dict().items()}
    torch.save(weights, in_data / "bare.pth")
    runner.call_hook("before_run")
    runner.load_checkpoint(str(in_data / "bare.pth"))
    assert_weights(runner.model, {k.removeprefix("module."): v for k, v in weights.items()})


# ---- what hooks and losses keep --------------------------------------------------------------


class Phases(Hook):
    """Switches a further loss on half-way and keeps count in the message hub."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict) -> None:
        hub = runner.message_hub
        steps = hub.get_info("phases/steps", 0)
        hub.update_info("phases/steps", steps + 1)
        hub.update_info("phases/trace", [*hub.get_info("phases/trace", []), np.float32(steps)])
        energy = hub.get_info("phases/energy", torch.zeros(()))
        hub.update_info("phases/energy", energy + sum(p.abs().sum() for p in last(runner)).item())
        (loss,) = runner.model.further_losses
        loss.weight = 0.1 * float(hub.get_info("phases/energy")) ** 0.1 if steps >= 4 else 0.0


def last(runner: Runner) -> list:
    return list(runner.model.decode_head.conv_seg.parameters())


class Decorrelation(nn.Module):
    """A loss on the instance-normalised channels, weighted by a running count of its own."""

    layers = ("backbone.layer1.*.IN",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = 0.0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, views: dict, data_samples: list) -> dict:
        self.seen += len(data_samples)
        if not self.weight:
            return {}
        layers = views["image"].layers.values()
        flat = [output.flatten(2) for output in layers]
        off = sum((x @ x.mT / x.shape[2]).triu(1).abs().mean() for x in flat)
        return dict(loss_whitening=self.weight * off / self.seen)


def test_a_training_in_two_phases_is_resumed_exactly(tiny: Config, in_data: Path) -> None:
    tiny.model.further_losses = [dict(type=f"{__name__}.Decorrelation")]
    hooks = [dict(type=f"{__name__}.Phases")]
    whole, halves, checkpoint = require_exactly_resumed(tiny, in_data, hooks)
    kept = checkpoint["message_hub"]["runtime_info"]
    assert kept["phases/steps"] == ALL
    assert kept["phases/trace"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert checkpoint["state_dict"]["further_losses.0.seen"] == ALL * 4
    scalars = whole.message_hub.log_scalars["train/further_0.loss_whitening"].data[0]
    assert len(scalars) == 2
    assert "train/further_0.loss_whitening" in halves.message_hub.log_scalars


class Sometimes(nn.Module):
    """A loss that finds nothing in every other batch."""

    calls = 0

    def forward(self, views: dict, data_samples: list) -> dict:
        self.calls += 1
        return {} if self.calls % 2 else dict(loss_found=0 * views["image"].logits.sum() + 4)


def test_a_loss_that_a_part_of_a_batch_lacks_counts_as_0_there(tiny: Config, in_data: Path) -> None:
    tiny.model.further_losses = [dict(type=f"{__name__}.Sometimes")]
    runner = runner_of(tiny, in_data / "run", [], accumulate=2)
    runner.train()
    logged = runner.message_hub.log_scalars["train/further_0.loss_found"].data[0]
    assert logged.tolist() == [2.0] * ALL


class Careless(Hook):
    """Keeps something in the message hub that a strict reader would not take."""

    def before_train_iter(self, runner: Runner, **kwargs) -> None:
        runner.message_hub.update_info("careless", Path("a"))
        runner.message_hub.update_info("careful", {"a": (1, torch.ones(2))})


def test_what_cannot_be_saved_is_named_once(tiny: Config, in_data: Path) -> None:
    runner_of(tiny, in_data / "run", [dict(type=f"{__name__}.Careless")]).train()
    (log,) = (in_data / "run").glob("*/*.log")
    assert log.read_text().count("'careless' in the message hub is not saved") == 1
    kept = read(in_data / "run/latest.pth")["message_hub"]["runtime_info"]
    assert kept.keys() == {"careful"}
    assert same(kept["careful"], {"a": (1, torch.ones(2))})


class Spoiler(Hook):
    """Adds an array to the checkpoint, which could then not be read again."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["statistics"] = np.zeros(3)


def test_a_checkpoint_that_could_not_be_read_is_refused(tiny: Config, in_data: Path) -> None:
    runner = runner_of(tiny, in_data / "run", [dict(type=f"{__name__}.Spoiler")])
    with pytest.raises(UserError, match="'statistics' could not be read again: .* a ndarray"):
        runner.train()
    assert not (in_data / "run/latest.pth").exists()


def test_plain_values_keep_their_types() -> None:
    for value, expected in (
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        ([None, (np.float32(2), "a")], [None, (2.0, "a")]),
        (OrderedDict(a={1: [torch.tensor(3)]}), OrderedDict(a={1: [torch.tensor(3)]})),
    ):
        found = plain(value)
        assert same(found, expected), value
        assert type(found) is type(expected), value


def test_values_that_are_not_plain_are_refused() -> None:
    for value in (np.zeros(2), {1, 2}, Path("a"), [object()], {"a": lambda: 0}):
        with pytest.raises(TypeError, match="found a "), refused(value):
            plain(value)
