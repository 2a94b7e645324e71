"""What a step gives to the log stays on the device until the log is read, so that no step waits;
and old values go, so that the last steps of a training take as long as its first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from ibnseg.registry import HOOKS

KEPT = 10_000
"""How many values of each name stay in memory, if the log itself needs no more."""


def forget_old(hub: MessageHub, window: int) -> None:
    """Lets the histories of what training logs keep their last values only: :data:`KEPT`, because
    hooks of users may read some. mmengine keeps a million, and copies all of them to add one.

    Args:
        hub: has the histories.
        window: how many values a line of the log is the mean of.
    """
    for name, history in hub.log_scalars.items():
        if name.startswith("train/"):  # the means over a validation or test need all its values
            history.max_length = max(KEPT, window)


class LateHistory(HistoryBuffer):
    """The history of a logged value, whose last values are fetched from the device when it is read.

    To those that read it, and in a checkpoint, it is mmengine's.

    Args:
        history: the values up to now.
    """

    def __init__(self, history: HistoryBuffer) -> None:
        self._late: list[Tensor] = []
        super().__init__(*history.data, history.max_length)

    def add(self, value: Tensor) -> None:
        """Adds a tensor of one value, without waiting for it."""
        self._late.append(value.detach().reshape(()))

    def _fetch(self) -> None:
        if self._late:
            values = torch.stack(self._late).tolist()
            self._late = []
            self._values = np.append(self._values, values)[-self.max_length :]
            counts = np.append(self._counts, np.ones_like(values, dtype=int))
            self._counts = counts[-self.max_length :]

    @property
    def _log_history(self) -> np.ndarray:
        self._fetch()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._fetch()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def __deepcopy__(self, memo: dict) -> HistoryBuffer:
        """Returns mmengine's history of the same values, which is what a checkpoint gets."""
        values, counts = (each.copy() for each in self.data)
        return HistoryBuffer(values, counts, self.max_length)


def log_late(hub: MessageHub, name: str, value: object) -> None:
    """Logs a value as ``MessageHub.update_scalar`` does, without waiting for it if it is a tensor.

    It waits for the first value of a name alone.
    """
    history = hub.log_scalars.get(name)
    if isinstance(history, LateHistory) and isinstance(value, Tensor):
        history.add(value)
        return
    hub.update_scalar(name, value)
    if not isinstance(history, LateHistory):
        hub.log_scalars[name] = LateHistory(hub.log_scalars[name])


@HOOKS.register_module()
class RuntimeInfo(RuntimeInfoHook):
    """mmengine's hook, which does not wait for the losses of a step to log them."""

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: object = None,
        outputs: Mapping[str, object] | None = None,
    ) -> None:
        for name, value in (outputs or {}).items():
            log_late(runner.message_hub, f"train/{name}", value)


@contextmanager
def norms_logged_late(wrappers: Iterable[OptimWrapper]) -> Iterator[None]:
    """Lets optimiser wrappers that clip gradients log their norms without waiting for them."""
    clipping = [wrapper for wrapper in wrappers if getattr(wrapper, "clip_grad_kwargs", None)]
    plain = [wrapper.clip_func for wrapper in clipping]
    for wrapper in clipping:
        wrapper.clip_func = _clip_late(wrapper)
    try:
        yield
    finally:
        for wrapper, function in zip(clipping, plain, strict=True):
            wrapper.clip_func = function


def _clip_late(wrapper: OptimWrapper) -> object:
    plain = wrapper.clip_func

    def clip(*args: object, **kwargs: object) -> None:
        norm = plain(*args, **kwargs)
        if norm is not None:
            log_late(wrapper.message_hub, f"train/{wrapper.grad_name}", norm)

    return clip
