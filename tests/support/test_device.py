"""The device that networks run on."""

from __future__ import annotations

import pytest
import torch
from mmengine.device import get_device, utils

from ibnseg.support.device import use_device
from ibnseg.support.errors import UserError


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """mmengine's device is restored; the numbers of the GPUs that are chosen, out of two."""
    numbers = []
    monkeypatch.setattr(utils, "DEVICE", utils.DEVICE)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", numbers.append)
    monkeypatch.delenv("RANK", raising=False)
    return numbers


def test_a_device_is_chosen_by_its_name(chosen: list[int]) -> None:
    before = get_device()
    use_device(None)
    assert get_device() == before
    for name in ("cuda", "cpu", "cuda:1"):
        use_device(name)
        assert get_device() == name.split(":")[0]
    assert chosen == [1]


def test_a_device_that_does_not_exist_is_refused() -> None:
    before = get_device()
    for name in ("gpu", "cuda:2", "xla", "cuda:x", "meta"):
        with pytest.raises(UserError, match=f"device '{name}': "):
            use_device(name)
        assert get_device() == before, name


def test_processes_of_torchrun_keep_their_own_gpus(
    monkeypatch: pytest.MonkeyPatch, chosen: list[int]
) -> None:
    monkeypatch.setenv("RANK", "0")
    use_device("cuda")
    with pytest.raises(UserError, match="each process of torchrun or Slurm has a GPU of its own"):
        use_device("cuda:1")
    assert not chosen
