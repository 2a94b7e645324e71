"""Weights of checkpoints are fitted to a network: all of them, or nothing is changed."""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from torch import nn

from ibnseg.models import fitting
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fitting import load_exactly, state_dict_of
from ibnseg.support.errors import UserError
from tests.models.cases import case
from tests.models.weights import net, other_weights, saved, unchanged


def test_only_weights_below_the_prefix_are_taken():
    for prefix in ["backbone", "backbone."]:
        with case(prefix=prefix):
            keys = ["backbone.a", "module.backbone.backbone.b", "backbone2.c", "head.backbone.d"]
            content = {key: torch.tensor(i) for i, key in enumerate(keys)}
            assert {k: v.item() for k, v in state_dict_of(content, "x.pth", prefix).items()} == {
                "a": 0,
                "backbone.b": 1,
            }


def test_loading_exactly_fills_every_entry():
    module = net()
    values = other_weights(module)
    load_exactly(module, values, "source")
    assert unchanged(module, values)


def test_spare_weights_are_left_out_and_missing_counters_are_zero():
    module = net()
    values = other_weights(module)
    del values["1.num_batches_tracked"]
    load_exactly(module, {**values, "fc.weight": torch.zeros(2)}, "source", spare=["fc."])
    assert unchanged(module, {**values, "1.num_batches_tracked": torch.tensor(0)})


def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed():
    for change, message in [
        (lambda w: w.clear(), "5 missing: 0.weight, 1.weight, 1.bias, 1.running_mean and 1 more"),
        (lambda w: w.pop("1.running_var"), "1 missing: 1.running_var"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 left over: extra"),
        (
            lambda w: w.update({"1.bias": torch.zeros(5)}),
            "1 of another shape: 1.bias (5,) for (4,)",
        ),
        (
            lambda w: w.update({"0.weight": torch.zeros(4, 3)}),
            "1 of another shape: 0.weight (4, 3) for (4, 3, 1, 1)",
        ),
        (
            lambda w: w.update({"1.weights": w.pop("1.weight")}),
            "1 missing: 1.weight; 1 left over: 1.weights",
        ),
        (lambda w: w.update({"fcx": torch.zeros(1)}), "1 left over: fcx"),
    ]:
        with case(message=message):
            module = net()
            before = deepcopy(module.state_dict())
            values = other_weights(module)
            change(values)
            with pytest.raises(UserError) as error:
                load_exactly(module, values, "there.pth", spare=["fc."])
            assert str(error.value).startswith("there.pth: ")
            assert str(error.value).endswith(f": {message}")
            assert unchanged(module, before)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_lack_or_surplus_is_refused(data):
    module = net()
    before = deepcopy(module.state_dict())
    values = other_weights(module)
    needed = [key for key in values if not key.endswith("num_batches_tracked")]
    dropped = data.draw(st.sets(st.sampled_from(needed)))
    names = st.text("abc.", min_size=1, max_size=5)
    added = data.draw(st.sets(names, min_size=0 if dropped else 1, max_size=3))
    values = {key: value for key, value in values.items() if key not in dropped}
    values |= {key: torch.zeros(2) for key in added}
    with pytest.raises(UserError) as error:
        load_exactly(module, values, "source")
    assert all(key in str(error.value) for key in (*added, *dropped) if len(dropped) <= 4)
    assert unchanged(module, before)


def filled_from(path: Path, content: object) -> nn.Module:
    module = net()
    saved(path, content)
    load_exactly(module, state_dict_of(read_checkpoint(path), "x.pth"), "x.pth")
    return module


def test_checkpoints_of_other_tools_give_the_same_weights(tmp_path):
    values = other_weights(net())
    below = lambda prefix: {prefix + key: value for key, value in values.items()}  # noqa: E731
    for content in (
        {"state_dict": below("module.")},
        {"state_dict": below("_orig_mod.")},
        below("_orig_mod.module."),
        below("module.model._orig_mod."),
        {"state_dict": below("model."), "pytorch-lightning_version": "2.0"},
        {"model": values, "epoch": 3},
        {"model": values, "args": argparse.Namespace(lr=0.1)},
        {"model_state_dict": below("net.")},
        {"ema": {**below("module."), "n_averaged": torch.tensor(5)}},
        {"ema": {"state_dict": values}},
        {"state_dict": values, "mean_iu": np.float64(0.4), "best": np.arange(3)},
        {
            "state_dict": values,
            "message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}},
        },
        {"state_dict": {**values, "auxiliary_head.conv_seg.bias": torch.zeros(19)}},
    ):
        with case(content=content):
            assert unchanged(filled_from(tmp_path / "x.pth", content), values)


def test_weights_are_named_as_the_network_does_if_its_own_names_have_a_wrapper(tmp_path):
    inner = net()
    network = nn.ModuleDict({"model": inner})
    values = other_weights(inner)
    for prefix in ("", "model.", "module.model.", "module.", "_orig_mod.model."):
        with case(prefix=prefix):
            content = {prefix + key: value for key, value in values.items()}
            load_exactly(network, state_dict_of(content, "x.pth"), "x.pth")
            assert unchanged(inner, values)
            load_exactly(network, other_weights(network), "x.pth")
    spare = {"model." + key: value for key, value in values.items()} | {"fc.bias": torch.zeros(1)}
    load_exactly(network, state_dict_of(spare, "x.pth"), "x.pth", spare=["fc."])
    assert unchanged(inner, values)


def test_the_log_says_which_of_several_weights_are_taken(monkeypatch):
    said = []
    monkeypatch.setattr(fitting, "print_log", lambda text, _: said.append(text))
    one, other = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    for content, expected in (
        ({"model": one, "ema": other}, ["x.pth: weights are taken from 'model', not from 'ema'"]),
        ({"ema": one, "epoch": 1}, ["x.pth: weights are taken from 'ema'"]),
        ({"model": {"state_dict": one}}, ["x.pth: weights are taken from 'model.state_dict'"]),
        ({"state_dict": one, "ema_state_dict": other}, []),
        (one, []),
    ):
        with case(expected=expected):
            said.clear()
            assert torch.equal(state_dict_of(content, "x.pth")["a"], torch.ones(1))
            assert said == expected


def test_the_log_says_which_weights_are_left_out(monkeypatch):
    said = []
    monkeypatch.setattr(fitting, "print_log", lambda text, _: said.append(text))
    module = net()
    extra = {"auxiliary_head.a": torch.zeros(1), "fc.b": torch.zeros(1)}
    load_exactly(module, other_weights(module) | extra, "x.pth", spare=["fc."])
    assert said == [
        "x.pth: left out, because Sequential does not have them: auxiliary_head.a, fc.b"
    ]


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_tensors_of_another_kind_are_refused_by_name():
    values = other_weights(net())
    dense = torch.ones(4)
    for key, value, message in (
        ("1.bias", dense.to(torch.complex64), "1 of another kind: 1.bias complex64 for float32"),
        ("1.bias", dense.long(), "1 of another kind: 1.bias int64 for float32"),
        ("1.bias", dense.bool(), "1 of another kind: 1.bias bool for float32"),
        (
            "1.num_batches_tracked",
            torch.tensor(1j),
            "1 of another kind: 1.num_batches_tracked complex64 for int64",
        ),
        ("1.bias", dense.to_sparse(), "1.bias is a sparse_coo tensor"),
        ("1.bias", torch.ones(4, device="meta"), "1.bias is a meta tensor"),
        (
            "1.bias",
            torch.quantize_per_tensor(dense, 1.0, 0, torch.quint8),
            "1.bias is a quantised tensor",
        ),
    ):
        with case(message=message):
            module = net()
            before = deepcopy(module.state_dict())
            with pytest.raises(UserError) as error:
                load_exactly(module, state_dict_of({**values, key: value}, "x.pth"), "x.pth")
            assert message in str(error.value)
            assert unchanged(module, before)


def test_an_integer_buffer_and_half_precision_are_taken():
    values = {
        k: v.half() if v.is_floating_point() else v.int() for k, v in other_weights(net()).items()
    }
    module = net()
    load_exactly(module, values, "x.pth")
    assert unchanged(module, other_weights(module))


def test_an_unknown_prefix_is_named():
    values = other_weights(net())
    content = {f"{p}.{key}": value for key, value in values.items() for p in ("student", "teacher")}
    with pytest.raises(UserError, match="there below 'student.', 'teacher.', which init_cfg"):
        load_exactly(net(), state_dict_of(content, "x.pth"), "x.pth")


def test_two_weights_of_one_name_are_refused():
    content = {"module.a": torch.ones(1), "a": torch.zeros(1)}
    with pytest.raises(UserError, match="two weights a, one of them as module.a"):
        state_dict_of(content, "x.pth")


def test_what_is_refused_is_named_by_its_class(tmp_path):
    for content, message in (
        ({"model": nn.Linear(1, 1)}, "it holds torch.nn.modules.linear.Linear"),
        ({"state_dict": {"a": np.float64(1)}}, "'a' in 'state_dict' is of type numpy"),
        ({"epoch": 3}, "'epoch' in it is of type int, expected names of tensors"),
    ):
        with case(message=message):
            path = saved(tmp_path / "x.pth", content)
            with pytest.raises(UserError) as error:
                state_dict_of(read_checkpoint(path), "x.pth")
            assert message in str(error.value)
            assert "damaged" not in str(error.value)


class Masked(nn.Module):
    """A layer beside a mask that is not finite by design, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("mean", torch.zeros(2))


def test_weights_that_are_not_finite_are_refused_and_nothing_changes() -> None:
    for name in ("linear.weight", "mean"):
        module, state = Masked(), Masked().state_dict()
        before = deepcopy(module.state_dict())
        state[name] = state[name].clone()
        state[name].view(-1)[0] = float("nan")
        with pytest.raises(UserError, match=f"x.pth: NaN or infinity in {name}, "):
            load_exactly(module, state, "x.pth")
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key])


def test_a_mask_and_weights_that_are_not_used_may_be_infinite() -> None:
    module, state = Masked(), Masked().state_dict()
    load_exactly(module, state | {"aux.x": torch.tensor(float("nan"))}, "x.pth", spare=["aux."])
    assert torch.equal(module.linear.weight, state["linear.weight"])
    with pytest.raises(UserError, match="NaN or infinity in mask, "):
        load_exactly(module, state | {"mask": torch.full((2,), float("-inf"))}, "x.pth")
