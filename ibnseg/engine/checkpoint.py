"""Saves a run's checkpoints: whole, with all state of the training, and never none."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from pathlib import Path
from secrets import token_hex

import numpy as np
import torch
from mmengine.dist import (
    all_reduce,
    all_reduce_params,
    barrier,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor

from ibnseg.engine.non_finite import advice, bare, state_of
from ibnseg.models.partial import leave_out
from ibnseg.registry import HOOKS
from ibnseg.runs.recipe import domain_label
from ibnseg.runs.run import BEST, LATEST
from ibnseg.support.errors import UserError
from ibnseg.support.files import sync_folder
from ibnseg.support.finite import non_finite, some

try:
    import resource
except ImportError:  # on Windows, where the progress line has no memory of the process
    resource = None

WRITTEN_ANEW = (
    "cfg",
    "dataset_meta",
    "epoch",
    "eta",
    "experiment_name",
    "iter",
    "loop_stage",
    "max_epochs",
    "max_iters",
    "mmengine_version",
    "seed",
)
"""Entries of the message hub that mmengine itself writes anew when a run is resumed."""


@HOOKS.register_module()
class Checkpoints(Hook):
    """Saves ``checkpoints/iter_N.pth`` every ``interval`` iterations and at the end, and points
    ``latest.pth`` at it.

    A resumed run goes on as if it had not been interrupted, because a checkpoint has all state:
    weights and buffers, further losses' included; the optimiser and schedules; and what hooks keep
    in the message hub (``runner.message_hub.update_info``), if it consists of numbers, texts,
    tensors, lists, tuples and dicts. Other objects could run code when they are read: they are left
    out, and a warning names them. Tensors of the message hub return on the CPU. What a hook keeps
    in its own attributes is not saved. Frozen weights that a backbone has from a file of its own
    are not in it (:mod:`ibnseg.models.partial`).

    With mmengine's ``EMAHook``, ``state_dict`` has the averaged weights, which every test and
    prediction therefore uses, and ``ema_state_dict`` those that the training goes on with.

    A checkpoint whose weights, buffers or optimiser state hold NaN or infinity is not written, and
    the training ends. Buffers that are so from the beginning, such as a mask, are left alone.

    mmengine's own hook removes old files before new ones are whole and keeps its pointer in a text
    file that it writes in place; this one never leaves a run without a checkpoint.

    Args:
        interval: iterations between checkpoints.
        keep: how many of them are kept, at least one.
        best: the validation metric whose largest value decides what ``best.pth`` is; None if
            nothing is selected. With it, checkpoints are saved after each validation instead, so
            that a resumed run has seen the same validations.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int, keep: int = 2, best: str | None = None) -> None:
        self.interval, self.keep, self.best = interval, max(keep, 1), best
        self._left_out: set[str] = set()
        self._constant: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        found = non_finite(state_of(runner))
        weights = {f"weights.{name}" for name, _ in bare(runner.model).named_parameters()}
        if weights & {*found}:
            raise UserError(
                f"NaN or infinity in {some(found)} before the first step; look at the weights "
                "that the network starts from (init_cfg, pretrained)"
            )
        self._constant = {*found}
        if is_main_process():
            self._remove_old(Path(runner.work_dir))

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs) -> None:
        due = self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        if due and self.best is None:
            self._save_latest(runner, runner.iter + 1)

    def before_val(self, runner: Runner) -> None:
        _average_buffers(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        score = metrics[self.best]
        score = float("-inf") if math.isnan(score) else score
        best = runner.message_hub.runtime_info.get("best_score")
        if best is None or score > best:
            runner.message_hub.update_info("best_score", score)
            self._save(runner, BEST, runner.iter)
            runner.logger.info(f"Best so far: {self.best} {score:.4f} at iteration {runner.iter}")
        self._save_latest(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        leave_out(bare(runner.model), checkpoint)
        checkpoint["meta"]["train_domain"] = domain_label(runner.cfg)
        for key in checkpoint.keys() - {"state_dict", "ema_state_dict", "message_hub"}:
            try:
                checkpoint[key] = plain(checkpoint[key])
            except TypeError as error:
                raise UserError(
                    f"the checkpoint's '{key}' could not be read again: {error}; change the hook, "
                    "schedule or dataset that it is from"
                ) from error
        kept = {}
        for key, value in checkpoint["message_hub"]["runtime_info"].items():
            if key in WRITTEN_ANEW:
                continue
            try:
                kept[key] = plain(value)
            except TypeError as error:
                if key not in self._left_out:
                    self._left_out.add(key)
                    runner.logger.warning(
                        f"'{key}' in the message hub is not saved, a resumed run will lack it: "
                        f"{error}"
                    )
        # the scalars are those of the progress line
        checkpoint["message_hub"] = dict(
            log_scalars={}, runtime_info=kept, resumed_keys=dict.fromkeys(kept, True)
        )

    def _save_latest(self, runner: Runner, iteration: int) -> None:
        _average_buffers(runner)
        name = f"checkpoints/iter_{iteration}.pth"
        self._save(runner, name, iteration)
        if is_main_process():
            point(Path(runner.work_dir) / LATEST, name)
            self._remove_old(Path(runner.work_dir))
        barrier()  # the other processes may load it next

    def _save(self, runner: Runner, name: str, iteration: int) -> None:
        """Saves a checkpoint if it is finite in all processes, which all have to call."""
        found = [name for name in non_finite(state_of(runner)) if name not in self._constant]
        count = torch.tensor(len(found))
        all_reduce(count, "max")
        if count:
            what = some(found) if found else "another process's weights"
            raise UserError(
                f"the training diverged: NaN or infinity in {what} after step {iteration}, and "
                f"no checkpoint of it is written; {advice(runner.cfg)}"
            )
        runner.save_checkpoint(
            runner.work_dir, name, meta=dict(epoch=0, iter=iteration), by_epoch=False
        )

    def _remove_old(self, run: Path) -> None:
        """Removes all checkpoints but the newest and the one that ``latest.pth`` points at, and
        what killed processes have left."""
        folder, latest = run / "checkpoints", (run / LATEST).resolve()
        by_age = sorted(folder.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]))
        unfinished = folder.glob(".iter_*.tmp.pth")  # of runs that were killed while saving
        for path in [*by_age[: -self.keep], *unfinished]:
            if path.resolve() != latest:
                path.unlink()


def plain(value: object) -> object:
    """Makes a value readable with ``weights_only=True``: NumPy's numbers become Python's.

    All else stays as it is.

    Raises:
        TypeError: for what is not made of numbers, texts, tensors, lists, tuples and dicts.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str, Tensor):
        return value
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) in (dict, OrderedDict):
        return type(value)((plain(key), plain(each)) for key, each in value.items())
    raise TypeError(
        f"expected numbers, texts, tensors, lists, tuples or dicts of these, found a "
        f"{type(value).__name__}"
    )


def point(link: Path, target: str) -> None:
    """Makes ``link`` a symbolic link to ``target``, replacing one that exists in a single step.

    It is a hard link if the system allows no symbolic one, as Windows does without certain rights.

    Args:
        link: the link.
        target: a file, relative to the folder of the link.

    Raises:
        UserError: if neither can be written.
    """
    name = f".{link.stem}-{token_hex(4)}.tmp{link.suffix}"  # as alone_in finds it, if it is left
    temporary = link.with_name(name)
    try:
        try:
            temporary.symlink_to(target)
        except (OSError, NotImplementedError):
            temporary.hardlink_to(link.parent / target)
        temporary.replace(link)
        sync_folder(link.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{link}: cannot be written ({error.strerror})") from error


def _average_buffers(runner: Runner) -> None:
    """Gives all processes the mean of their running statistics, those of averaged weights included.

    mmengine does so at the end of an epoch.
    """
    if get_world_size() > 1:
        averaged = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
        buffers = [b for network in (runner.model, *averaged) for b in network.buffers()]
        all_reduce_params([b for b in buffers if b.is_floating_point()], op="mean")


@HOOKS.register_module()
class HostMemory(Hook):
    """Adds the process's peak memory in MiB to the progress line, if there is no GPU."""

    def after_train_iter(self, runner: Runner, **kwargs) -> None:
        if resource is not None and not torch.cuda.is_available():
            unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kB on Linux
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
            runner.message_hub.update_scalar("train/memory", peak)
