"""The runner's additions to mmengine's."""

import logging
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config

from ibnseg.engine.expand import expand
from ibnseg.engine.runner import Runner
from ibnseg.support.errors import UserError


@pytest.fixture
def runner(tiny: Config, in_data: Path, request: pytest.FixtureRequest) -> Runner:
    tiny.channels_last, tiny.name = True, request.node.name
    cfg = expand(tiny)
    cfg.work_dir = str(in_data / "run")
    return Runner.from_cfg(cfg)


def test_channels_last_reaches_the_weights(runner: Runner) -> None:
    weight = runner.model.backbone.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_runs_of_one_name_that_begin_at_once_have_their_own_logs(
    tiny: Config, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmengine.runner.runner.time.time", lambda: 1e9)
    runs = []
    for folder in ("one", "two"):
        cfg = expand(tiny)
        cfg.work_dir = str(in_data / folder)
        runs.append(Runner.from_cfg(cfg))
    for log in ("visualizer", "message_hub", "logger"):
        assert getattr(runs[0], log) is not getattr(runs[1], log)
    assert Path(runs[1].visualizer._vis_backends["LocalVisBackend"]._save_dir).is_relative_to(
        in_data / "two"
    )


def test_the_expanded_config_is_written_to_the_run(runner: Runner, in_data: Path) -> None:
    dumped = Config.fromfile(in_data / "run/config.py")
    assert dumped.train_cfg.max_iters == 6
    assert dumped.domains.gta5.title == "GTA5"
    assert set(dumped.test_dataloader) == {"gta5", "cityscapes"}
    assert [test.name for test in dumped.test_cfg.tests] == ["gta5", "cityscapes"]


def test_console_shows_single_lines_and_the_file_all(runner: Runner, in_data: Path, capsys) -> None:
    console = next(
        handler for handler in runner.logger.handlers if type(handler) is logging.StreamHandler
    )
    runner.logger.info("one line")
    runner.logger.info("first\nsecond")
    single, several = (
        logging.LogRecord("", logging.INFO, "", 0, text, (), None) for text in ("a", "a\nb")
    )
    assert console.filter(single)
    assert not console.filter(several)
    (log,) = (in_data / "run").glob("*/*.log")
    text = log.read_text()
    assert "one line" in text
    assert "first\nsecond" in text
    assert "System environment" in text


def test_bfloat16_and_channels_last_train(tiny: Config, in_data: Path) -> None:
    """The switches change the precision of the result, not the result; TensorBoard has its log."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        cfg = tiny.copy()
        cfg.precision, cfg.channels_last = precision, precision == "bfloat16"
        cfg.name, cfg.iterations, cfg.tensorboard = precision, 2, True
        cfg = expand(cfg)
        cfg.work_dir = str(in_data / precision)
        run = Runner.from_cfg(cfg)
        run.train()
        losses[precision] = run.message_hub.get_scalar("train/loss").data[0]
        assert run.model.backbone.conv1.weight.dtype == torch.float32
        assert list((in_data / precision).rglob("events.out.tfevents.*"))
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert (losses["bfloat16"] != losses["float32"]).any()


def test_a_deterministic_training_goes_on_where_torch_has_no_such_algorithm(
    tiny: Config, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cross entropy over pixels has no deterministic algorithm on GPUs."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    tiny.deterministic, tiny.name = True, "deterministic"
    cfg = expand(tiny)
    cfg.work_dir = str(in_data / "run")
    try:
        Runner.from_cfg(cfg)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)


def test_weights_that_cannot_be_downloaded_are_one_line(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init_weights(self) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(type(runner.model), "init_weights", init_weights)
    with pytest.raises(
        UserError, match=r"cannot be downloaded \(no route to host\); set model.pre"
    ):
        runner.train()


def test_a_log_that_does_not_fit_on_the_disk_is_named(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmengine writes ``scalars.json``; the system's error names no file."""

    def full(*args, **kwargs) -> None:
        with Path("/dev/full").open("w") as file:
            file.write("loss")

    monkeypatch.setattr(runner.hooks[0], "after_val_iter", full)
    with pytest.raises(UserError) as error:
        runner.call_hook("after_val_iter", batch_idx=0)
    assert str(error.value) == f"{runner.log_dir}: cannot be written (No space left on device)"
