"""A training that diverges stops: its first loss or gradient that is not finite, and checkpoints
that would hold what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError

NEVER = 2**62
"""The number of a step that does not come."""


class FirstNonFinite:
    """The first step whose loss, and the first one whose gradient, was not finite.

    Both numbers stay on the device, so that no step waits for them; :meth:`require_none` looks.
    Gradients are those that an optimiser is given: after they were clipped, and not those of a step
    that a gradient scaler skips, as it does by design.

    Args:
        device: the device of the network.
    """

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self._first = torch.full((2,), NEVER, dtype=torch.int64, device=device)

    @contextmanager
    def watching(self, optim_wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[None]:
        """Notes the gradients of each step of the optimisers."""
        hooks = [
            each.optimizer.register_step_pre_hook(self._note_gradients)
            for each in wrappers_of(optim_wrapper)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _note_gradients(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        if getattr(optimizer, "found_inf", None) is not None:
            return  # of a gradient scaler, which fused optimisers skip a step by
        gradients = [
            p.grad.coalesce().values() if p.grad.is_sparse else p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if gradients:  # the largest one: a sum of squares could overflow
            self._note(1, torch.nn.utils.get_total_norm(gradients, float("inf")))

    def note_losses(self, outputs: Mapping[str, object]) -> None:
        """Notes the losses among what the network gave to the log."""
        names = ["loss"] if "loss" in outputs else [name for name in outputs if "loss" in name]
        for name in names:
            self._note(0, torch.as_tensor(outputs[name], device=self._first.device).sum())

    def _note(self, which: int, value: Tensor) -> None:
        value = value.detach().to(self._first.device)
        self._first[which] = torch.where(
            value.isfinite(), self._first[which], self._first[which].clamp(max=self.step)
        )

    def require_none(self, cfg: Config) -> None:
        """Looks whether all was finite so far, in all processes; all of them have to call.

        Raises:
            UserError: naming the first step that was not, and what to try.
        """
        first = self._first.clone()
        all_reduce(first, "min")
        of_loss, of_gradient = first.tolist()
        step = min(of_loss, of_gradient)
        if step < NEVER:
            what = "the loss is" if of_loss == step else "a gradient is"
            raise UserError(
                f"the training diverged: {what} not finite in step {step}, and nothing "
                f"of it is saved; {advice(cfg)}"
            )


def advice(cfg: Config) -> str:
    """What to try if a training diverges."""
    tries = ["a lower rate (optimizer.lr)", "a warm-up (LinearLR in param_scheduler)"]
    if cfg.get("precision") != "float32":
        tries.append("precision='float32'")
    if not (cfg.get("optim_wrapper") or {}).get("clip_grad"):
        tries.append("optim_wrapper.clip_grad")
    return f"try {', '.join(tries)}, or look at the labels of {', '.join(train_domains(cfg))}"


def wrappers_of(optim_wrapper: OptimWrapper | OptimWrapperDict) -> list[OptimWrapper]:
    """The wrapper of each optimiser of a training, which has one or several."""
    several = isinstance(optim_wrapper, OptimWrapperDict)
    return list(optim_wrapper.optim_wrappers.values()) if several else [optim_wrapper]


def bare(network: nn.Module) -> nn.Module:
    """A network without the wrapper that several processes need."""
    return network.module if is_model_wrapper(network) else network


def state_of(runner: Runner) -> dict[str, object]:
    """The weights, buffers and optimiser state of a training, averaged weights included, that a
    checkpoint holds."""
    averaged = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    return dict(
        weights=bare(runner.model).state_dict(),
        averaged=[each.state_dict() for each in averaged],
        optimizer=runner.optim_wrapper.state_dict(),
    )
