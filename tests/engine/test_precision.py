"""bfloat16 training on any device, and the precision that is fast on it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ibnseg.engine import expand, precision
from ibnseg.engine.precision import BFloat16OptimWrapper
from ibnseg.engine.run import train
from ibnseg.runs.recipe import recipe_values
from ibnseg.runs.run import Run


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch):
    """A function that says whether the device computes in bfloat16 by itself."""

    def has(fast: bool) -> None:
        capabilities = {"avx512_bf16": fast, "avx2": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(precision, "get_device", lambda: "cpu")

    return has


def test_auto_is_the_recipe_that_it_comes_to(device, in_data: Path, tiny: Config) -> None:
    for fast, name in ((True, "bfloat16"), (False, "float32")):
        device(fast)
        tiny.precision = "auto"
        auto = expand(tiny)
        tiny.precision = name
        assert auto.precision == name
        assert recipe_values(auto) == recipe_values(expand(tiny))
        assert expand(auto).precision == name


def test_auto_leaves_the_precision_to_an_optimiser_wrapper_of_ones_own(
    device, in_data: Path, tiny: Config
) -> None:
    device(True)
    tiny.precision, tiny.optim_wrapper = "auto", dict(type="OptimWrapper")
    assert expand(tiny).precision == "float32"


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


def test_a_resumed_run_keeps_the_precision_that_auto_chose_when_it_began(
    device, in_data: Path, tiny_config
) -> None:
    config, folder = (
        tiny_config("gta5", ["gta5"], "precision = 'auto'\niterations = 2"),
        Path("run"),
    )
    device(True)
    train(config, work_dir=folder)
    assert "Precision auto: bfloat16; bfloat16 is fast on this device" in log_of(folder)
    assert "emulates" not in log_of(folder)
    before, other = Run(folder).recipe, Path("other")
    device(False)
    train(config, work_dir=folder, resume=True)
    assert Run(folder).config["precision"] == "bfloat16"
    assert Run(folder).recipe == before
    assert "Precision auto: bfloat16; bfloat16 is emulated on this device" in log_of(folder)
    assert "emulates bfloat16, which takes about 17 times as long as float32" in log_of(folder)
    train(config, work_dir=other)
    assert Run(other).config["precision"] == "float32"
    assert Run(other).recipe != before
    assert "FileClient" not in log_of(folder) + log_of(other)


def test_forward_is_bfloat16_and_weights_stay_float32() -> None:
    model = torch.nn.Linear(4, 1)
    before = model.weight.detach().clone()
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    with wrapper.optim_context(model):
        out = model(x)
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight.detach(), before - 0.5 * x)


def test_autocast_ends_with_the_forward_pass() -> None:
    model = torch.nn.Linear(4, 1)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        pass
    assert model(torch.zeros(1, 4)).dtype == torch.float32
