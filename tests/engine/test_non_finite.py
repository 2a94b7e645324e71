"""A training that diverges stops, keeps what was good, and says what to try."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from ibnseg.engine.non_finite import FirstNonFinite
from ibnseg.engine.run import train
from ibnseg.registry import HOOKS, OPTIM_WRAPPERS
from ibnseg.support.errors import UserError
from ibnseg.support.finite import non_finite

CFG = Config(dict(train_domain="gta5", precision="bfloat16"))


def first(found: FirstNonFinite) -> str:
    """What a look says; nothing if all was finite."""
    try:
        found.require_none(CFG)
    except UserError as error:
        return str(error)
    return ""


def steps(wrapper: OptimWrapper, values: list[float]) -> FirstNonFinite:
    """Takes a step for each value, which is both the loss and its gradient."""
    (parameter,) = wrapper.optimizer.param_groups[0]["params"]
    found = FirstNonFinite(parameter.device)
    with found.watching(wrapper):
        for found.step, value in enumerate(values, 1):
            wrapper.update_params((parameter * value).sum())
    return found


@pytest.mark.parametrize("clip_grad", [None, dict(max_norm=1.0), dict(type="value", clip_value=1)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_gradient_that_is_not_finite_is_named_by_its_step(value, clip_grad) -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    wrapper = OptimWrapper(optimizer, clip_grad=copy.copy(clip_grad))  # mmengine changes it
    said = first(steps(wrapper, [1.0, 1e30, value, 1.0]))
    if clip_grad and clip_grad.get("type") == "value" and value == math.inf:
        assert said == ""  # it was clipped to a finite one, as was asked for
    else:
        assert said.startswith("the training diverged: a gradient is not finite in step 3, ")
        assert "precision='float32'" in said
        assert said.endswith("look at the labels of gta5")


def test_a_large_finite_gradient_is_no_divergence() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.0))
    assert first(steps(wrapper, [3e38, -3e38])) == ""  # the squares of which overflow


def test_each_of_several_optimisers_is_watched_and_left_alone_afterwards() -> None:
    networks = [nn.Linear(2, 1) for _ in range(2)]
    wrappers = OptimWrapperDict(
        **{
            f"w{i}": OptimWrapper(torch.optim.Adam(network.parameters()))
            for i, network in enumerate(networks)
        }
    )
    found = FirstNonFinite(torch.device("cpu"))
    with found.watching(wrappers):
        found.step = 5
        wrappers["w0"].update_params(networks[0](torch.ones(1, 2)).sum())
        assert first(found) == ""
        wrappers["w1"].update_params(networks[1](torch.full((1, 2), math.inf)).sum())
    assert "a gradient is not finite in step 5" in first(found)
    assert not any(w.optimizer._optimizer_step_pre_hooks for w in wrappers.optim_wrappers.values())


class Scaled(OptimWrapper):
    """Loss scaling as mmengine's AmpOptimWrapper has it, which runs on GPUs alone."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()


def test_a_step_that_a_gradient_scaler_skips_is_no_divergence() -> None:
    parameter = nn.Parameter(torch.ones(1))
    wrapper = Scaled(torch.optim.SGD([parameter], lr=0.1))
    assert first(steps(wrapper, [8.0] * 6)) == ""
    assert wrapper.scaler.get_scale() < 2.0**127  # some were skipped
    assert parameter.item() < 1  # and others not


def test_the_loss_of_a_network_that_names_no_sum_is_looked_at() -> None:
    found = FirstNonFinite(torch.device("cpu"))
    for found.step, value in enumerate((1.0, math.inf, math.nan), 1):
        found.note_losses({"decode.loss_ce": torch.tensor(value), "acc": torch.tensor(math.nan)})
    assert "the loss is not finite in step 2" in first(found)


@HOOKS.register_module(force=True)
class Damages(Hook):
    """Makes a tensor of the network NaN after a step."""

    priority = "VERY_HIGH"

    def __init__(self, after: int, name: str) -> None:
        self.after, self.name = after, name

    def after_train_iter(self, runner, batch_idx: int, **kwargs) -> None:
        if batch_idx + 1 == self.after:
            runner.model.state_dict()[self.name].fill_(math.nan)


def fails(config: Path, folder: Path, *options: str) -> str:
    with pytest.raises(UserError) as error:
        train(config, options=options, work_dir=folder)
    return str(error.value)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_nothing_of_a_diverged_training_replaces_what_was_good(
    accumulate: int, in_data: Path, tiny_config
) -> None:
    """The weights are damaged after step 3, the checkpoint of step 2 stays."""
    damage = (
        'custom_hooks = [dict(type="ibnseg.Damages", after=3, name="backbone.conv1.weight")]\n'
        f"log_interval = 50\naccumulate = {accumulate}"
    )
    config = tiny_config("gta5", ["gta5"], damage)
    assert "the loss is not finite in step 4, " in fails(config, in_data / "run")
    assert [path.name for path in (in_data / "run/checkpoints").iterdir()] == ["iter_2.pth"]
    kept = torch.load(in_data / "run/latest.pth", weights_only=True)
    assert non_finite(kept) == []
    assert not (in_data / "run/results.json").exists()


def test_a_checkpoint_with_a_buffer_that_is_not_finite_is_not_written(
    in_data: Path, tiny_config
) -> None:
    """The running mean takes no part in the loss."""
    damage = (
        'custom_hooks = [dict(type="ibnseg.Damages", after=4, '
        'name="decode_head.convs.0.bn.running_mean")]'
    )
    said = fails(tiny_config("gta5", ["gta5"], damage), in_data / "run")
    assert "NaN or infinity in weights.decode_head.convs.0.bn.running_mean after step 4" in said
    assert [path.name for path in (in_data / "run/checkpoints").iterdir()] == ["iter_2.pth"]


def test_a_rate_that_is_too_high_is_the_first_thing_to_try(in_data: Path, tiny_config) -> None:
    config = tiny_config("gta5", ["gta5"], "optim_wrapper = dict(clip_grad=dict(max_norm=1e30))")
    said = fails(config, in_data / "run", "optimizer.lr=1e30", "log_interval=2")
    assert said.startswith("the training diverged: ")
    assert "try a lower rate (optimizer.lr)" in said
    assert "clip_grad" not in said  # it is there
    assert not list(in_data.glob("run/*.pth"))


@OPTIM_WRAPPERS.register_module(force=True)
class OwnWrapper(OptimWrapper):
    """A wrapper of the user's own, which takes its steps without mmengine's methods."""

    def update_params(self, loss: torch.Tensor, **kwargs) -> None:
        (loss * math.inf).backward()
        self.optimizer.step()
        self._inner_count += 1


def test_gradients_of_an_optimiser_wrapper_of_ones_own_are_watched(
    in_data: Path, tiny_config
) -> None:
    config = tiny_config("gta5", ["gta5"], 'optim_wrapper = dict(type="ibnseg.OwnWrapper")')
    assert "a gradient is not finite in step 1," in fails(config, in_data / "run")
