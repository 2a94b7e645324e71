"""Training by torch.compile."""

from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ibnseg.engine import compiled
from ibnseg.engine.compiled import require_compiling, why_not
from ibnseg.engine.expand import expand
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner
from ibnseg.support.errors import UserError


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list:
    """The functions that are compiled; they are traced, but no code is generated, which would take
    a minute."""
    found, real = [], torch.compile

    def trace(function: object) -> object:
        found.append(function)
        return real(function, backend="eager")

    monkeypatch.setattr(torch, "compile", trace)
    yield found
    torch.compiler.reset()


def after_two_steps(tiny: Config, in_data: Path, name: str, **values: object) -> Runner:
    cfg = Config({**tiny, **values, "iterations": 2, "name": name})
    cfg.model.decode_head.dropout_ratio = 0.0
    cfg = expand(cfg)
    cfg.work_dir = str(in_data / name)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_a_compiled_training_learns_what_a_plain_one_does(
    traced: list, tiny: Config, in_data: Path
) -> None:
    averaged = dict(custom_hooks=[dict(type="EMAHook")], accumulate=2)
    plain = after_two_steps(tiny, in_data, "plain", **averaged).model.state_dict()
    assert not traced
    runner = after_two_steps(tiny, in_data, "compiled", compile=True, **averaged)
    assert len(traced) == 2  # backbone and head
    weights = runner.model.state_dict()
    torch.testing.assert_close(weights, plain, rtol=1e-4, atol=1e-6)
    assert list(weights) == list(plain)
    assert "forward" not in vars(runner.model.backbone)


def test_a_compiled_network_runs_as_it_is_in_evaluation(traced: list, tiny: Config) -> None:
    calls = []
    network = torch.nn.Module()
    network.backbone = torch.nn.Identity()
    network.decode_head = torch.nn.ModuleList([torch.nn.Identity()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda plain: lambda x: calls.append(x) or plain(x))
        with compiled.compiled(network):
            assert network.backbone(1) == network.decode_head[0](1) == 1
            assert calls == [1, 1]
            network.eval()
            assert network.backbone(2) == 2
    network.train()
    assert network.backbone(3) == 3
    assert calls == [1, 1]


def test_losses_that_look_at_layers_are_refused() -> None:
    network = torch.nn.Module()
    network.layers_looked_at = ["backbone.layer1.0.bn1.IN"]
    with (
        pytest.raises(UserError, match="look at backbone.layer1.0.bn1.IN, and compiled code does"),
        compiled.compiled(network),
    ):
        pass


def test_a_network_that_cannot_be_compiled_is_named() -> None:
    network = torch.nn.Module()
    network.backbone = torch.nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend=fails))
        with (
            compiled.compiled(network),
            pytest.raises(UserError, match=r"Linear cannot be compiled \(.*no kernel.*\); set"),
        ):
            network.backbone(torch.zeros(1, 2))
    torch.compiler.reset()


def fails(*_: object) -> None:
    raise ValueError("no kernel")


def test_without_a_compiler_a_training_says_so_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch, in_data: Path, tiny_config
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UserError, match=r"compile is True, but there is no C\+\+ compiler .*, or set compile=False"
    ):
        train(tiny_config("gta5", ["gta5"], "compile = True"), work_dir="run")
    with pytest.raises(UserError, match="install it, or resume where it can be done"):
        require_compiling(resumed=True)


@pytest.mark.parametrize(
    ("device", "reason"), [("mps", "does not compile for mps"), ("cuda", "triton is not installed")]
)
def test_what_compiling_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, device: str, reason: str
) -> None:
    monkeypatch.setattr(compiled, "get_device", lambda: device)
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    assert reason in why_not()
