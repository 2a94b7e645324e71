"""What auto comes to on a device, and that a run keeps it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ibnseg.engine import automatic, compiled, precision
from ibnseg.engine.automatic import AUTOMATIC, LONG, resolved
from ibnseg.engine.expand import expand
from ibnseg.engine.run import train
from ibnseg.runs.recipe import recipe_values
from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError

ALL = dict.fromkeys(AUTOMATIC, "auto")
FAST = dict(precision="bfloat16", channels_last=True, compile=False)
PLAIN = dict(precision="float32", channels_last=False, compile=False)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch):
    """A function that says which device there is, and whether it computes in bfloat16 by itself."""

    def has(fast: bool, name: str = "cpu") -> None:
        capabilities = {"avx512_bf16": fast, "avx2": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
        for module in (automatic, compiled, precision):
            monkeypatch.setattr(module, "get_device", lambda: name)

    return has


@pytest.mark.parametrize(
    ("name", "fast", "given", "expected"),
    [
        ("cpu", True, {}, FAST),
        ("cpu", False, {}, PLAIN),
        ("mps", True, {}, PLAIN),
        ("cpu", True, dict(precision="float32"), PLAIN),
        ("cpu", False, dict(precision="bfloat16"), FAST),
        ("cpu", True, dict(channels_last=False), FAST | dict(channels_last=False)),
        ("cpu", True, dict(compile=True), FAST | dict(compile=True)),
        ("cpu", True, dict(optim_wrapper=dict(type="AmpOptimWrapper")), PLAIN),
        ("cpu", True, dict(optim_wrapper=dict(clip_grad=None)), FAST),
        ("cuda", True, {}, FAST | dict(compile=True)),
        ("cuda", False, dict(iterations=LONG), PLAIN | dict(compile=True)),
        ("cuda", True, dict(iterations=LONG - 1), FAST),
        ("cuda", True, dict(model=dict(further_losses=[dict(type="x")])), FAST),
    ],
)  # fmt: skip
def test_auto_goes_by_what_the_device_can_do(
    device, monkeypatch: pytest.MonkeyPatch, name: str, fast: bool, given: dict, expected: dict
) -> None:
    device(fast, name)
    monkeypatch.setattr(automatic, "why_not", lambda: None)
    assert resolved(dict(model={}) | ALL | given) == expected


def test_a_config_without_these_keys_has_the_defaults() -> None:
    assert resolved({}) == PLAIN


def test_auto_does_not_compile_on_a_gpu_without_a_compiler(
    device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device(True, "cuda")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert resolved(dict(model={}) | ALL) == FAST


def test_auto_is_the_recipe_that_it_comes_to(device, in_data: Path, tiny: Config) -> None:
    for fast, values in ((True, FAST), (False, PLAIN)):
        device(fast)
        auto = expand(Config({**tiny, **ALL}))
        assert {name: auto[name] for name in ALL} == values
        assert recipe_values(auto) == recipe_values(expand(Config({**tiny, **values})))
        assert {name: expand(auto)[name] for name in ALL} == values


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


def test_a_resumed_run_keeps_what_auto_chose_when_it_began(
    device, in_data: Path, tiny_config
) -> None:
    lines = "precision = channels_last = compile = 'auto'\niterations = 2"
    config, folder = tiny_config("gta5", ["gta5"], lines), Path("run")
    device(True)
    train(config, work_dir=folder)
    chosen = "auto: precision=bfloat16, channels_last=True, compile=False; bfloat16"
    assert f"{chosen} is fast on this device" in log_of(folder)
    assert "emulates" not in log_of(folder)
    before, other = Run(folder).recipe, Path("other")
    device(False)
    train(config, work_dir=folder, resume=True)
    assert Run(folder).config["precision"] == "bfloat16"
    assert Run(folder).recipe == before
    assert f"{chosen} is emulated on this device" in log_of(folder)
    assert "emulates bfloat16, which takes about 17 times as long as float32" in log_of(folder)
    train(config, work_dir=other)
    assert Run(other).config["precision"] == "float32"
    assert Run(other).recipe != before
    assert "FileClient" not in log_of(folder) + log_of(other)
    with pytest.raises(UserError, match="channels_last was True and is now False; resume with"):
        train(config, work_dir=folder, resume=True, options=["channels_last=False"])
