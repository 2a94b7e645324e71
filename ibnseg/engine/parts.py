"""What the parts of a step share, of which there are several if a batch is cut by ``accumulate`` or
over processes: the divisor of a mean over pixels, and the values in the log."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from ibnseg.datasets.labels import IGNORE

IDS = 256
"""The values that a label's pixel may have."""


class SharedDivisors:
    """Makes mmseg's cross entropy divide by the same number in every part of a step, and without
    waiting for the device.

    It divides the sum over pixels by the number of labelled pixels (``avg_non_ignore``), or by the
    sum of their classes' weights (``class_weight``). Those differ from part to part, and the mean
    of the parts' means is not the mean over the batch. Here each part divides by the mean of all
    parts' divisors, in all processes; the mean of the parts, which is what accumulating and
    averaging over processes make of the gradients, is then that of the whole batch.

    A head that makes labels of its own (e.g. of points, or of pixels where another head is sure)
    keeps the divisor of its part, because those of the other parts are not known beforehand; so do
    losses that rank pixels over a batch, such as Lovász and online hard example mining.

    Args:
        network: the network whose losses are changed, until :meth:`remove`.
        accumulate: parts of a process.
        device: the device of the network.
    """

    def __init__(self, network: nn.Module, accumulate: int, device: torch.device) -> None:
        self._parts, self._device = accumulate * get_world_size(), device
        self._exact = torch.float32 if device.type == "mps" else torch.float64
        losses = [each for each in network.modules() if isinstance(each, CrossEntropyLoss)]
        self._hooks = [
            loss.register_forward_pre_hook(self._divide, with_kwargs=True)
            for loss in losses
            if _divides_by_labels(loss)
        ]
        self._given = [
            (loss, loss.class_weight) for loss in losses if loss.class_weight is not None
        ]
        for loss, weight in self._given:  # a list would be copied to the device in each step
            loss.class_weight = torch.as_tensor(weight, dtype=self._exact, device=device)
        warnings.filterwarnings("ignore", "To copy construct from a tensor")  # mmseg does

    def begin_step(self, labels: Sequence[Sequence[Tensor]]) -> None:
        """Counts the labels of all parts; all processes have to call.

        Args:
            labels: of each part of this process, uint8 on the host, ``(1, H, W)`` each.
        """
        if not self._hooks or self._parts == 1:
            return
        flat = [torch.cat([each.flatten() for each in part]) for part in labels]
        self._of_parts = [torch.bincount(part, minlength=IDS) for part in flat]
        self._of_batch = sum(self._of_parts).to(self._device, non_blocking=True)
        all_reduce(self._of_batch)

    def begin_part(self, index: int) -> None:
        """Says which part of this process goes through the network next."""
        if self._hooks and self._parts > 1:
            counts = self._of_parts[index].numpy()
            self._labelled = int(counts.sum() - counts[IGNORE])

    def remove(self) -> None:
        """Leaves the losses as they were."""
        for hook in self._hooks:
            hook.remove()
        for loss, weight in self._given:
            loss.class_weight = weight

    def _divide(self, loss: CrossEntropyLoss, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        scores, labels = args[0], args[1] if len(args) > 1 else kwargs["label"]
        known = len(args) > 3 or kwargs.get("avg_factor") is not None
        if known or kwargs.get("reduction_override") or labels.ndim != 3:
            return args, kwargs
        weights = torch.ones(IDS, dtype=self._exact, device=labels.device)
        if loss.class_weight is not None and not loss.use_sigmoid:
            weights[: len(loss.class_weight)] = loss.class_weight
        elif loss.use_sigmoid:
            weights *= scores.shape[1]  # each class of a pixel is a value of its own
        weights[IGNORE] = 0
        divisor = weights[labels.long()].sum()  # torch.bincount would wait for the device
        if self._parts > 1:
            is_the_parts = (labels != IGNORE).sum() == self._labelled
            shared = (weights * self._of_batch).sum() / self._parts
            divisor = torch.where(is_the_parts, shared, divisor)
        exact = torch.promote_types(scores.dtype, torch.float32)  # half could not hold a count
        return args, {**kwargs, "avg_factor": divisor.to(exact)}


def _divides_by_labels(loss: CrossEntropyLoss) -> bool:
    if loss.reduction != "mean" or loss.use_mask:
        return False
    return loss.avg_non_ignore or (loss.class_weight is not None and not loss.use_sigmoid)


class LoggedMeans:
    """Means of what the parts of a step give to the log, over all processes.

    The names are those of the first step, of any process; what comes later stays the process's own.
    """

    def __init__(self, device: torch.device) -> None:
        self._names: list[str] | None = None
        self._device = device

    def mean(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Averages over the parts and over processes, all of which have to call.

        What a part lacks, e.g. a further loss that found nothing in it, counts as 0.
        """
        keys = dict.fromkeys(key for part in parts for key in part)
        own = {key: sum(part.get(key, 0) for part in parts) / len(parts) for key in keys}
        if get_world_size() == 1:
            return own
        if self._names is None:
            self._names = sorted({name for names in all_gather_object(list(own)) for name in names})
        values = [
            torch.as_tensor(own.get(name, 0), dtype=torch.float64, device=self._device).detach()
            for name in self._names
        ]
        shared = torch.stack(values)
        all_reduce(shared, "mean")
        return own | dict(zip(self._names, shared, strict=True))
