"""Nothing in a training step waits for the device."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from torch.utils._python_dispatch import TorchDispatchMode

from ibnseg.engine import logged
from ibnseg.engine.expand import expand
from ibnseg.engine.logged import LateHistory, log_late
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "bincount")
"""Operations that have to wait for a GPU, because the host needs their values."""


class Waits(TorchDispatchMode):
    """Lists the waits of what runs inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removeprefix("aten::").partition(".")[0]
        indices = args[1] if name.startswith("index") and isinstance(args[1], list) else ()
        by_mask = [each for each in indices if each is not None and each.dtype == torch.bool]
        if name in WAITS or by_mask:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


WEIGHTED = dict(class_weight=[1.0] * 19, avg_non_ignore=False)


@pytest.mark.parametrize(
    "case",
    [
        dict(optim_wrapper=dict(clip_grad=dict(max_norm=1.0))),
        dict(model=dict(decode_head=dict(loss_decode=WEIGHTED)), precision="bfloat16"),
    ],
)
def test_no_step_between_two_lines_of_the_log_waits_for_the_device(
    case: dict, tiny: Config, in_data: Path, request: pytest.FixtureRequest
) -> None:
    tiny.merge_from_dict(case)
    tiny.update(iterations=4, log_interval=10, checkpoint_interval=10, name=request.node.name)
    cfg = expand(tiny)
    cfg.work_dir = str(in_data / "run")
    runner = Runner.from_cfg(cfg)
    loop, found = runner.train_loop, []
    plain = loop.run_iter

    def watched(batch: object) -> None:
        with Waits() as waits:
            plain(batch)
        found.append(waits.found)

    loop.run_iter = watched
    runner.train()
    assert found[1:3] == [[], []]
    assert found[0]  # the first values are fetched
    assert found[3]  # and the last ones
    histories = runner.message_hub.log_scalars
    assert [len(histories[f"train/{name}"].data[0]) for name in ("loss", "decode.acc_seg")] == [
        4,
        4,
    ]


def test_old_values_go_and_the_log_stays_the_same(
    tiny_config, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "save_best = True\nselection_split = 'train'\niterations = 14\nworkers = 0\n"
    config = tiny_config("gta5", ["gta5"], f"{more}log_interval = 3\ncheckpoint_interval = 7")
    lines, lengths = {}, {}
    for kept in (10_000, 2):
        monkeypatch.setattr(logged, "KEPT", kept)
        run = in_data / f"kept{kept}"
        train(config, work_dir=run)
        ((path,),) = [list(run.glob("*/vis_data/scalars.json"))]
        of_log = [json.loads(line) for line in path.read_text().splitlines()]
        lines[kept] = [
            {key: each for key, each in line.items() if "time" not in key and key != "memory"}
            for line in of_log
        ]
        hub = MessageHub.get_current_instance()
        lengths[kept] = {n: len(h.data[0]) for n, h in hub.log_scalars.items() if "train/" in n}
    assert lines[2] == lines[10_000]
    assert sum("loss" in line for line in lines[2]) == 5
    assert set(lengths[10_000].values()) == {14}
    assert set(lengths[2].values()) == {3}


def values(numbers: list[float]) -> HistoryBuffer:
    hub = MessageHub("late")
    for number in numbers:
        log_late(hub, "x", torch.tensor([number]))
    return hub.log_scalars["x"]


def test_a_late_history_reads_as_mmengines_does() -> None:
    numbers = [0.5, 2.0, 4.0, 1.0]
    late, plain = values(numbers), HistoryBuffer(numbers, [1] * 4)
    assert isinstance(late, LateHistory)
    assert late.current() == 1.0
    assert late.mean(2) == plain.mean(2) == 2.5
    late.update(3.0)
    assert (late.max(), late.min()) == (4.0, 0.5)
    for got, expected in zip(values(numbers).data, plain.data, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_late_history_is_saved_as_mmengines() -> None:
    saved = copy.deepcopy(values([1.0, 2.0]))  # as mmengine's state_dict does
    assert type(saved) is HistoryBuffer
    assert saved.mean() == 1.5


def test_a_number_is_logged_after_tensors_in_its_place() -> None:
    hub = MessageHub("mixed")
    for value in (1.0, torch.tensor(2.0), 3, torch.tensor(4.0)):
        log_late(hub, "x", value)
    assert list(hub.log_scalars["x"].data[0]) == [1, 2, 3, 4]
    assert hub.state_dict()["log_scalars"]["x"].mean() == 2.5
