"""Fixtures for several modules: the published state dicts, and one thread."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from ibnseg.models import Segmentor
from tests.models.tiny import build

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> Iterator[None]:
    """One thread: these networks are tiny, and sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def published() -> dict[str, dict]:
    """For each published IBN-Net: ``url``, ``parameters``, ``state_dict`` (key to shape)."""
    with gzip.open(DATA / "ibn_state_dicts.json.gz", "rt") as file:
        return json.load(file)


@pytest.fixture(scope="session")
def features() -> dict[str, dict]:
    """The outputs of published networks in float64 with the weights of ``filled``."""
    return json.loads((DATA / "ibn_features.json").read_text())


@pytest.fixture(scope="session")
def filled(published: dict[str, dict]):
    """A function from a published name to a float64 state dict without the classifier."""

    def fill(key: str, shape: list[int]) -> torch.Tensor:
        if key.endswith("num_batches_tracked"):
            return torch.tensor(0)
        z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if len(shape) == 4:
            z *= np.sqrt(2 / (shape[0] * shape[2] * shape[3]))
        elif len(shape) == 2:
            z *= 0.01
        elif key.endswith("running_var"):
            z = 1 + 0.1 * np.abs(z)
        elif key.endswith(("running_mean", "bias")):
            z *= 0.1
        else:
            z = 1 + 0.1 * z
        return torch.from_numpy(z)

    def weights(name: str) -> dict[str, torch.Tensor]:
        shapes = published[name]["state_dict"]
        kept = {k: s for k, s in shapes.items() if not k.startswith(("fc.", "classifier."))}
        return {key: fill(key, shape) for key, shape in kept.items()}

    return weights


@pytest.fixture(scope="module")
def shared_segmentor() -> Segmentor:
    return build()


@pytest.fixture
def segmentor(shared_segmentor: Segmentor) -> Segmentor:
    """A small dilated network for whole-image inference, in evaluation mode."""
    return deepcopy(shared_segmentor)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch):
    """A function that sets how much of a training is done."""
    hub = MessageHub.get_instance("training")
    monkeypatch.setattr(MessageHub, "get_current_instance", lambda: hub)

    def set_progress(iteration: int, of: int) -> None:
        hub.update_info_dict(dict(loop_stage="train", iter=iteration, max_iters=of))

    return set_progress
